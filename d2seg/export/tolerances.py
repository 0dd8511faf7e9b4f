"""How far a file may be from the model it came from, by how its weights are stored."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Tolerances:
    """What still counts as finding the same objects.

    Attributes:
        box: Pixels by which a coordinate of a box or a keypoint may differ, for boxes within 100 px
            of the origin; in proportion beyond.
        score: By which a score may differ, that of a keypoint too.
        mask: By which any probability of a mask may differ.
        pixel_share: Share of an object's pixels that may differ in a mask of the size of the image.
        keypoint_share: Share of an object's keypoints that must be in place: one whose heat map has
            two equal peaks may be on either.
        matched_share: Share of either side's detections in an image that need a partner.
        high_score: From this score on every detection needs a partner, unless it is at the end of a
            full list, where the last digits of a score decide which detection stays.
        flips: So many detections of an image may be without a partner whatever the share says;
            images with few detections need it. ``high_score`` holds for them too.
    """

    box: float
    score: float
    mask: float
    pixel_share: float
    keypoint_share: float
    matched_share: float
    high_score: float
    flips: int = 0

    def accept(self, num_detections: int, num_matched: int, highest_unmatched: float) -> bool:
        """Tell whether an image passes.

        Args:
            num_detections: Detections of the side that has more.
            num_matched: Pairs that agree within the tolerances.
            highest_unmatched: Highest score without a partner; 0 if there is none.
        """
        allowed = max((1 - self.matched_share) * num_detections, self.flips)
        return num_detections - num_matched <= allowed and highest_unmatched < self.high_score

    def explain(self) -> str:
        """Say in three lines what the comparison of an image asks for."""
        exceptions = f" (or all but {self.flips})" if self.flips else ""
        return (
            f"matched: within {self.box:g} px (in proportion beyond 100 px), {self.score:g} of the "
            f"score, {self.mask:g} of a mask's\nprobability or {self.pixel_share:.0%} of a mask of "
            f"the image's size; same: {self.matched_share:.0%} or more of the objects match"
            f"{exceptions},\nand all that score {self.high_score:g} or more"
        )


TOLERANCES = {
    # Runtimes add the same numbers in another order, which moves boxes by about 0.01 px, scores by
    # less than 0.001 and masks by less than 0.002. Near ties in NMS, and scores at the threshold,
    # may flip.
    "fp32": Tolerances(
        box=0.05,
        score=2e-3,
        mask=5e-3,
        pixel_share=0.01,
        keypoint_share=0.9,
        matched_share=0.98,
        high_score=0.5,
    ),
    # On trained weights the differences are those of float noise and 0.95 to 1 of the detections
    # agree: those at the threshold of the score flip.
    "half": Tolerances(
        box=0.2,
        score=0.01,
        mask=0.05,
        pixel_share=0.03,
        keypoint_share=0.9,
        matched_share=0.9,
        high_score=0.5,
        flips=1,
    ),
    # On trained weights 0.86 to 1 of the detections agree within these, and now and then NMS keeps
    # the other one of two good boxes. So this asks only that rounding did no harm to the model;
    # that nothing but rounding happened is shown in `d2seg.export.verify`. Networks with random
    # weights can fail: they find many things of the same score, of which any rounding takes others.
    "int8": Tolerances(
        box=2.0,
        score=0.1,
        mask=0.5,
        pixel_share=0.3,
        keypoint_share=0.7,
        matched_share=0.75,
        high_score=0.95,
        flips=1,
    ),
}
"""The tolerances by the way weights are stored, see :data:`d2seg.export.weights.WEIGHTS`."""

INT8_ARITHMETIC = replace(TOLERANCES["int8"], mask=0.6, high_score=0.99)
"""Of files that round activations too, not weights alone: single pixels at the edge of a mask
differ by more, and now and then NMS keeps the other one of two very good boxes. Of the demo model's
detections on 85 images the mask costs 1.5% their partner."""
