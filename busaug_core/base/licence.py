"""Under which licence the weights of a base are, and what is derived from them; the words that every card bears."""

from busaug_core.base.defaults import MINI, place_of

RESEARCH_USE = """**Research use only. Not for clinical use.** Its images are synthetic: they show no patient, and
no diagnosis, measurement or teaching of anatomy may rest on them."""

OPENRAIL = """Stable Diffusion 1 and what is derived from it are under CreativeML OpenRAIL-M, whose use restrictions go
along with every copy: among others it forbids use for medical advice and for interpreting medical results."""
PUBLISHERS = ("stable-diffusion-v1-5/", "CompVis/stable-diffusion", "runwayml/stable-diffusion")
"""How the Hub ids begin that are known to be under OpenRAIL-M."""


def licence_of(base_model: str) -> tuple[str, str]:
    """The identifier of a base's licence as the Hub writes it, `other` where it is not known, and a notice."""
    if base_model == MINI:
        return "apache-2.0", "The base model `mini` is under Apache-2.0, and so is what is derived from it."
    if base_model.startswith(PUBLISHERS) and place_of(base_model) is None:
        return "creativeml-openrail-m", OPENRAIL
    unknown = "What is derived from a base model stays under that model's licence; look which one it is."
    return "other", f"{unknown}\n{OPENRAIL}"
