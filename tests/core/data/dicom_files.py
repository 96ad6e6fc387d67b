"""Writing DICOM files."""

import pydicom


def write_dicom(path, values, photometric="MONOCHROME2", bits=None, **elements):
    """An uncompressed file of pixels H×W, H×W×3 or N×H×W; elements by keyword."""
    file = pydicom.Dataset()
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = pydicom.uid.UltrasoundImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = pydicom.uid.generate_uid()
    is_colour = photometric in ("RGB", "YBR_FULL")
    file.Rows, file.Columns = values.shape[:2] if is_colour else values.shape[-2:]
    file.SamplesPerPixel = 3 if is_colour else 1
    if is_colour:
        file.PlanarConfiguration = 0
    elif values.ndim == 3:
        file.NumberOfFrames = len(values)
    file.PhotometricInterpretation = photometric
    file.BitsAllocated = values.dtype.itemsize * 8
    file.BitsStored = bits or file.BitsAllocated
    file.HighBit = file.BitsStored - 1
    file.PixelRepresentation = int(values.dtype.kind == "i")
    file.PixelData = values.tobytes()
    for name, value in elements.items():
        setattr(file, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)
    return path
