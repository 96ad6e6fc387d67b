"""What is wrong with a set of images: copies, scans, conflicts of labels, burnt-in annotations."""
