"""Input images: anything image-like becomes checked RGB; files, references, pixel statistics."""

from .image import (
    ImageLike,
    ImagesLike,
    Picture,
    RGBImage,
    as_image,
    as_images,
    as_picture,
    as_pictures,
    notices_of,
)
from .size_policy import WHOLE, SizePolicy, centre, fit, to_pixels

__all__ = [
    "WHOLE",
    "ImageLike",
    "ImagesLike",
    "Picture",
    "RGBImage",
    "SizePolicy",
    "as_image",
    "as_images",
    "as_picture",
    "as_pictures",
    "centre",
    "fit",
    "notices_of",
    "to_pixels",
]
