"""Figures as SVG inside a page: no styles, no scripts, and names that are unique on the page.

A page with a strict content security policy takes neither ``style`` attributes nor ``style``
elements, which is how matplotlib writes SVG; each declaration is a presentation attribute as well.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_PRESENTATION = {"stroke-linejoin": "round", "stroke-linecap": "butt"}
"""What matplotlib declares in a ``style`` element for everything."""


def inline_svg(figure: Figure, name: str, title: str) -> str:
    """``figure`` as an ``svg`` element for an HTML page.

    Args:
        figure: of matplotlib; drawn here.
        name: prefix of all ids, unique on the page.
        title: for those who cannot see it.
    """
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(file.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        _rewrite(element, name)
    width = float(root.attrib.pop("width").removesuffix("pt"))
    root.attrib["width"] = f"{width * 96 / 72:.0f}"  # the height follows from the view box
    del root.attrib["height"]
    root.attrib |= _PRESENTATION | {"role": "img", "aria-label": title}
    text = ElementTree.tostring(root, encoding="unicode")
    # Inside HTML elements have no prefixes, and the namespace is known.
    text = re.sub(r"<(/?)ns\d+:", r"<\1", text)
    return re.sub(r'\s+xmlns(?::\w+)?="[^"]*"', "", text)


def _rewrite(element: ElementTree.Element, name: str) -> None:
    style = element.attrib.pop("style", "")
    for declaration in style.split(";"):
        key, separator, value = declaration.partition(":")
        if separator:
            element.attrib[key.strip()] = value.strip()
    for key, value in list(element.attrib.items()):
        if key == "id":
            element.attrib[key] = f"{name}-{value}"
        elif key == f"{{{XLINK}}}href":
            del element.attrib[key]
            element.attrib["href"] = f"#{name}-{value.removeprefix('#')}"
        elif value.startswith("url(#"):
            element.attrib[key] = f"url(#{name}-{value.removeprefix('url(#')}"
