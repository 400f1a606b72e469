"""Screen: rich's console, on which no name can move the cursor or change a colour."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from gala.errors import STEERING


class Screen(Console):
    """Leaves out what steers a terminal in names, files and messages; it has no width."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Segments of ``renderable``; what rich itself steers with is left as it is."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else STEERING.sub("", text), style, control)
