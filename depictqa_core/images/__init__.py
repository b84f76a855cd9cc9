"""Input images: anything image-like becomes checked RGB; files, references, pixel statistics."""

from .image import ImageLike, ImagesLike, Picture, as_picture, as_pictures, notices_of
from .size_policy import WHOLE, SizePolicy, centre, fit, to_pixels

__all__ = [
    "WHOLE",
    "ImageLike",
    "ImagesLike",
    "Picture",
    "SizePolicy",
    "as_picture",
    "as_pictures",
    "centre",
    "fit",
    "notices_of",
    "to_pixels",
]
