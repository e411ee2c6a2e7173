"""Drawings of the flow and of the networks as SVG: `python -m apps.site.drawings bundle/docs/images`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path

#: Colours of an edge and its fill: data, network, result. A light ground, so that they can be read on a dark page too.
STYLES = {"data": ("#5b6b7b", "#eef2f6"), "network": ("#1f5fa8", "#e3eefb"), "result": ("#a3540a", "#fdf0e1")}
FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"
LINE = 17

NAMES = "images.csv, studies.csv, predictions.json, submission.csv, masks, overlays, DICOM"


@dataclass(frozen=True)
class Box:
    """A labelled box: centre, width, title, further lines, style."""

    x: float
    y: float
    width: float
    title: str
    lines: tuple[str, ...] = ()
    style: str = "data"

    @property
    def height(self) -> float:
        """Height in units of the drawing."""
        return 26 + LINE * len(self.lines)

    def draw(self) -> str:
        """The box as SVG."""
        edge, fill = STYLES[self.style]
        left, top = self.x - self.width / 2, self.y - self.height / 2
        texts = [f'<text x="{self.x:g}" y="{top + 18:g}" font-weight="bold" fill="{edge}">{escape(self.title)}</text>']
        texts += [
            f'<text x="{self.x:g}" y="{top + 18 + LINE * row:g}" fill="#333">{escape(line)}</text>'
            for row, line in enumerate(self.lines, 1)
        ]
        frame = f'<rect x="{left:g}" y="{top:g}" width="{self.width:g}" height="{self.height:g}" rx="6"'
        return "\n".join([f'{frame} fill="{fill}" stroke="{edge}" stroke-width="1.5"/>', *texts])


def draw_arrow(points: list[tuple[float, float]], label: str = "", dashed: bool = False) -> str:
    """An arrow along points, with a label beside its first part."""
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    line = f'<polyline points="{path}" fill="none" stroke="#555" stroke-width="1.5"{dash} marker-end="url(#head)"/>'
    if not label:
        return line
    (x1, y1), (x2, y2) = points[:2]
    x, y, anchor = ((x1 + x2) / 2, y1 - 6, "middle") if y1 == y2 else (x1 + 7, (y1 + y2) / 2 + 4, "start")
    style = f'fill="#555" font-style="italic" text-anchor="{anchor}"'
    return f'{line}\n<text x="{x:g}" y="{y:g}" {style}>{escape(label)}</text>'


def link_down(above: Box, below: Box, label: str = "", dashed: bool = False) -> str:
    """An arrow from the lower edge of a box to the upper edge of one below it."""
    start, end = above.y + above.height / 2, below.y - below.height / 2 - 2
    if above.x == below.x:
        return draw_arrow([(above.x, start), (above.x, end)], label, dashed)
    middle = (start + end) / 2
    return draw_arrow([(above.x, start), (above.x, middle), (below.x, middle), (below.x, end)], label, dashed)


def link_right(left: Box, right: Box, label: str = "", dashed: bool = False) -> str:
    """An arrow from the right edge of a box to the left edge of one beside it."""
    return draw_arrow([(left.x + left.width / 2, left.y), (right.x - right.width / 2 - 2, right.y)], label, dashed)


def draw(width: int, height: int, title: str, parts: list[str]) -> str:
    """A whole drawing."""
    head = (
        '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#555"/></marker>'
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" font-size="13"'
            f' font-family="{FONT}" text-anchor="middle">',
            f"<title>{escape(title)}</title>",
            f"<defs>{head}</defs>",
            f'<rect width="{width}" height="{height}" rx="10" fill="#fff"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def draw_flow() -> str:
    """The way of an image, in training and in inference."""
    tree = Box(160, 45, 260, "DICOM images", ("of a folder, any layout",))
    tables = Box(640, 45, 260, "Tables", ("classes, boxes, patients",))
    prepare = Box(640, 140, 260, "prepare", ("checks, duplicates, folds by patient",))
    datalist = Box(640, 235, 260, "datalist.json", ("images, labels, folds",), "result")
    reader = Box(160, 140, 260, "Reader", ("decoded once, in a limited process",))
    rejected = Box(160, 330, 260, "rejected.csv", ("with a reason, never negative",), "result")
    lungs = Box(160, 235, 260, "Lung detector", ("a box round both lungs, or a flag",), "network")
    study = Box(440, 345, 220, "Study classifier", ("class and mask", "of the lung crop"), "network")
    opacity = Box(700, 345, 220, "Opacity detector", ("boxes in the lung crop",), "network")
    tta = Box(440, 450, 220, "TTA flips", ("probabilities averaged",))
    findings = Box(440, 545, 220, "Findings", ("in the image's own pixels",), "result")
    training = Box(700, 450, 220, "Training", ("on four folds of five",))
    outputs = Box(440, 640, 640, "Results", (NAMES,), "result")
    parts = [
        link_down(tree, reader),
        draw_arrow([(290, 45), (400, 45), (400, 130), (508, 130)]),
        link_down(tables, prepare),
        link_down(prepare, datalist),
        link_down(reader, lungs),
        draw_arrow([(30, 140), (14, 140), (14, 330), (28, 330)], dashed=True),
        draw_arrow([(290, 235), (440, 235), (440, 313)], "crop"),
        draw_arrow([(440, 280), (660, 280), (660, 322)]),
        link_down(study, tta),
        link_down(tta, findings),
        draw_arrow([(590, 345), (570, 345), (570, 545), (552, 545)]),
        draw_arrow([(770, 235), (830, 235), (830, 450), (812, 450)]),
        draw_arrow([(700, 428), (700, 369)], "trains all three", dashed=True),
        link_down(findings, outputs),
    ]
    boxes = [tree, tables, prepare, datalist, reader, rejected, lungs, study, opacity, tta, findings, training, outputs]
    return draw(860, 690, "Data flow from DICOM images to results", [*parts, *(box.draw() for box in boxes)])


def draw_networks() -> str:
    """The three networks, with the sizes of `inference.json`."""
    image = Box(110, 75, 180, "Whole image", ("1 x 256 x 256",))
    lung_encoder = Box(350, 75, 200, "MobileNetV4 small", ("timm encoder",), "network")
    lung_head = Box(590, 75, 190, "Distributions of edges", ("lungs? rotation?",), "network")
    lung_result = Box(820, 75, 190, "Lung box", ("with a score, or a flag",), "result")
    crop = Box(110, 245, 180, "Lung crop", ("1 x 256 x 256",))
    encoder = Box(350, 245, 200, "EfficientNetV2-B0", ("timm encoder, last map",), "network")
    head = Box(590, 205, 180, "Mean, linear", ("four classes",), "network")
    study = Box(820, 205, 190, "Probabilities", ("of the study classes",), "result")
    decoder = Box(590, 285, 180, "Mask decoder", ("64, 32, 16, 16, 16",), "network")
    mask = Box(820, 285, 190, "Opacity mask", ("training: 10 x BCE",), "result")
    wider = Box(110, 435, 180, "Lung crop + 10 %", ("1 x 288 x 288",))
    pyramid = Box(350, 435, 200, "EfficientNet-Lite0", ("feature pyramid (FPN)",), "network")
    retina = Box(590, 435, 180, "RetinaNet heads", ("classes and edges",), "network")
    boxes = Box(820, 435, 190, "Opacity boxes", ("fused over TTA flips",), "result")
    titles = [
        f'<text x="20" y="{y}" font-size="15" font-weight="bold" text-anchor="start" fill="#222">{text}</text>'
        for y, text in ((32, "Lung detector"), (160, "Study classifier"), (385, "Opacity detector"))
    ]
    split = 470.0
    parts = [
        link_right(image, lung_encoder),
        link_right(lung_encoder, lung_head),
        link_right(lung_head, lung_result),
        link_right(crop, encoder),
        draw_arrow([(450, 245), (split, 245), (split, 205), (498, 205)]),
        draw_arrow([(450, 245), (split, 245), (split, 285), (498, 285)]),
        link_right(head, study),
        link_right(decoder, mask),
        link_right(wider, pyramid),
        link_right(pyramid, retina),
        link_right(retina, boxes),
    ]
    all_boxes = (
        *(image, lung_encoder, lung_head, lung_result, crop, encoder, head, study, decoder, mask),
        *(wider, pyramid, retina, boxes),
    )
    return draw(940, 490, "The three networks", [*titles, *parts, *(box.draw() for box in all_boxes)])


DRAWINGS = {"flow.svg": draw_flow, "networks.svg": draw_networks}

if __name__ == "__main__":
    for name, make in DRAWINGS.items():
        (Path(sys.argv[1]) / name).write_text(make(), encoding="utf-8")
