"""Images as the judge takes them: anything image-like becomes checked RGB; files, references, statistics of pixels."""

from .image import WHOLE, Picture, SizePolicy, as_picture, as_pictures, centre, fit, notices_of, to_pixels

__all__ = ["WHOLE", "Picture", "SizePolicy", "as_picture", "as_pictures", "centre", "fit", "notices_of", "to_pixels"]
