"""What a conversion did, to be read by people."""

from dataclasses import dataclass, field

_EXAMPLES = 3


@dataclass
class Report:
    """What became of the tensors of a file.

    Attributes:
        source: File, its format and how many tensors it holds.
        target: What was written.
        model: The architecture, in a few words.
        matched: Names that stayed as they were.
        renamed: Names that changed, as ``theirs -> ours``.
        reordered: Names of tensors whose rows changed places or number, with what was done.
        dropped: Names that were left out, with the reason.
        missing: Names that the target has and the file has not.
        not_exact: What the converted model computes in another way, in sentences.
        notes: What to know when using it, in sentences.
        files: What was written.
    """

    source: str
    target: str
    model: str = ""
    matched: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    reordered: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    not_exact: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def text(self, every: bool = False) -> str:
        """Return the lines to print.

        Args:
            every: List all names, not a few of each kind.
        """
        lines = [f"read       {self.source}"]
        if self.model:
            lines.append(f"model      {self.model}")
        lines += _names("matched", self.matched, every, show=False)
        lines += _names("renamed", self.renamed, every)
        lines += _reasons("reordered", self.reordered, every)
        lines += _reasons("dropped", self.dropped, every)
        lines += _names("missing", self.missing, every)
        exact = ["nothing: it computes the same"] if not self.not_exact else self.not_exact
        lines += [f"not exact  {sentence}" for sentence in exact]
        lines += [f"note       {sentence}" for sentence in self.notes]
        return "\n".join([*lines, *(f"wrote      {file}" for file in self.files)])


def _names(title: str, names: list[str], every: bool, show: bool = True) -> list[str]:
    shown = names if every else names[: _EXAMPLES if show else 0]
    more = len(names) - len(shown)
    lines = [f"{title:<10} {len(names)}", *(f"             {name}" for name in shown)]
    return lines + ([f"             and {more} more"] if shown and more else [])


def _reasons(title: str, reasons: dict[str, str], every: bool) -> list[str]:
    """List names by reason."""
    lines = [f"{title:<10} {len(reasons)}"]
    for reason in dict.fromkeys(reasons.values()):
        names = [name for name, why in reasons.items() if why == reason]
        shown = names if every else names[:_EXAMPLES]
        more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
        lines.append(f"             {', '.join(shown)}{more}: {reason}")
    return lines
