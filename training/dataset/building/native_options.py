"""Everything that shapes a scene at native resolution."""

from dataclasses import dataclass

from training import drawn

from . import measures
from .delivery import missing_formats
from .looks import LOOKS
from .option_checks import freeze_lists, is_distribution, require_shares

SPATIAL = ("blur", "noise", "compression", "oversharpen", "pixelate", "quantization")
"""Categories whose visible severity changes when the image is scaled down; the others change tones alone."""


@dataclass(frozen=True)
class NativeOptions:
    """Everything that shapes a scene at native resolution; shares are 0..1, lengths pixels.

    Attributes:
        variants: images per scene.
        pristine: share of the variants without damage; they differ in their delivery.
        single, double, ladder, local, fault: shares of the kinds of damaged variants; sum 1. A ladder mate repeats an
            implementation of the scene at another severity; a local one is distorted in a region only.
        second_fault, fault_and_distortion: shares of the fault variants with two faults, and with a fault and a
            distortion.
        drawn: share of the scenes that are drawn by program.
        looks: share of the scenes with a look.
        look_names: the looks to draw from; empty for all.
        pushed: share of the single distortions in a scene with a look that push this look too far, such as a low key
            that is darkened (``looks.EXCLUDED``, severities 3 to 5): the look is clean, and there is a limit to it.
        styled: share of the scenes of images that are drawn in an art style (``art_styles.STYLES``), without a look.
        published: share of the scenes of images that are made as for the published task (``synthesis.make_scene``): a
            judge that learns from the others alone forgets it.
        held_out: faults and drawings of the held-out kinds only (for validation), instead of those for training.
        sizes: (least short side, greatest short side, share) of each band of sizes; a photograph is never enlarged.
        crop_area: share of the source's area.
        max_aspect: longest side / shortest side.
        delivered: share of the variants that are delivered; the others are saved as they are.
        resized, factors: share of deliveries that scale down, and by how much.
        formats: shares of the formats of a delivery.
        dithered: share of the tone distortions that are rounded with dither, as programs that compute in float do; the
            published functions of 8 bits leave gaps in the histogram, which a network must not take for the damage.
        min_change: grey levels by which a distortion must change an image (see ``change``), or it is drawn again.
        min_fault: the same for a fault: a regular pattern is seen earlier, and a date in a corner is enough.
        png_level: zlib level of the PNG files, 0..9.
    """

    variants: int = 6
    pristine: float = 0.5
    single: float = 0.34
    double: float = 0.10
    ladder: float = 0.12
    local: float = 0.22
    fault: float = 0.22
    second_fault: float = 0.12
    fault_and_distortion: float = 0.1
    drawn: float = 0.35
    looks: float = 0.3
    look_names: tuple[str, ...] = ()
    pushed: float = 0.0
    styled: float = 0.0
    published: float = 0.0
    held_out: bool = False
    sizes: tuple[tuple[int, int, float], ...] = (
        (256, 384, 0.18), (384, 512, 0.22), (512, 768, 0.26), (768, 1024, 0.18), (1024, 1536, 0.09),
        (1536, 2048, 0.04), (2048, 4096, 0.03),
    )  # fmt: skip
    crop_area: tuple[float, float] = (0.45, 1.0)
    max_aspect: float = 2.0
    delivered: float = 0.6
    resized: float = 0.35
    factors: tuple[float, float] = (0.5, 0.97)
    formats: tuple[tuple[str, float], ...] = (("jpeg", 0.5), ("webp", 0.22), ("avif", 0.08), ("png", 0.2))
    dithered: float = 0.6
    min_change: float = 5.0
    min_fault: float = 2.0
    png_level: int = 1

    def __post_init__(self):
        freeze_lists(self)
        kinds = (self.single, self.double, self.ladder, self.local, self.fault)
        if not is_distribution(kinds):
            raise ValueError(f"single, double, ladder, local and fault must be shares with the sum 1, got {kinds}")
        require_shares(self, "pristine", "drawn", "looks", "pushed", "styled", "published", "delivered", "resized")
        require_shares(self, "second_fault", "fault_and_distortion", "dithered")
        if unknown := set(self.look_names) - set(LOOKS):
            raise ValueError(f"unknown look '{min(unknown)}': choose some of {', '.join(LOOKS)}")
        if self.variants < 1 or self.second_fault + self.fault_and_distortion > 1:
            raise ValueError("variants must be at least 1, second_fault + fault_and_distortion at most 1")
        if any(not measures.MIN_SIDE <= low <= high <= drawn.MAX_SIDE or share < 0 for low, high, share in self.sizes):
            raise ValueError(
                f"sizes must be (low, high, share) with {measures.MIN_SIDE} <= low <= high, got {self.sizes}"
            )
        if not is_distribution([share for *_, share in self.sizes]):
            raise ValueError(f"the shares of sizes must have the sum 1, got {self.sizes}")
        if not 0.3 <= self.factors[0] <= self.factors[1] <= 1:
            raise ValueError(f"factors must be a rising range within 0.3..1, got {self.factors}")
        if missing := missing_formats(dict(self.formats)):
            raise ValueError(f"this Pillow cannot write {' and '.join(missing)}: install a newer one, or leave it out")

    @property
    def least(self) -> int:
        """Least short side of a source."""
        return min(low for low, *_ in self.sizes)
