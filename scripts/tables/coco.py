"""Reader of boxes in the JSON of COCO, as annotation tools export them.

    images         id, file_name, and by option width and height
    annotations    image_id, category_id, bbox [x, y, width, height]
    categories     id, name

`file_name` is a path relative to the tree, or the file's name. As COCO has it, every object of its categories is
annotated: where one of them means opacities, an image without boxes of it has none. Source:
https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from scripts.errors import InputError
from scripts.labels import OPACITY
from scripts.tables.cells import parse_box
from scripts.tables.mapping import Label, LabelledImage, LabelMap, build_tables
from scripts.tables.records import Box, Tables

PARTS: dict[str, tuple[str, ...]] = {
    "images": ("id", "file_name"),
    "annotations": ("image_id", "category_id"),
    "categories": ("id", "name"),
}


def read_coco_file(path: Path, label_map: LabelMap) -> Tables:
    """Read a COCO file.

    Raises:
        InputError: where it is no such file, an id is there twice or leads nowhere, a box is wrong, or the map lacks a
            category.
    """
    content = _read_parts(path)
    categories = {key: str(each["name"]) for key, each in _index(content["categories"], "categories", path).items()}
    meanings = {key: label_map.find(name, f"{path.name} (categories)") for key, name in categories.items()}
    images = _index(content["images"], "images", path)
    labels: defaultdict[Any, list[Label]] = defaultdict(list)
    for number, each in enumerate(content["annotations"]):
        where = f"{path.name} annotation {each.get('id', number)}"
        if each["image_id"] not in images or each["category_id"] not in categories:
            raise InputError("annotations of images and categories that are there", where, "export the file again")
        category = each["category_id"]
        labels[each["image_id"]].append(Label(categories[category], meanings[category], _parse_bbox(each, where)))
    complete = OPACITY in {meaning.boxes for meaning in meanings.values()}
    return build_tables(_build_image(image, labels[key], path, complete) for key, image in images.items())


def _read_parts(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        whole = all(set(keys) <= each.keys() for part, keys in PARTS.items() for each in content[part])
    except OSError as error:
        raise InputError("a COCO file", f"none at {path} ({error.strerror})", "check --tables") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        expected = "; ".join(f"{part} with {', '.join(keys)}" for part, keys in PARTS.items())
        raise InputError(f"JSON with {expected}", f"another content in {path.name}", "export it as COCO (detection)")
    return {part: content[part] for part in PARTS}


def _index(items: list[dict[str, Any]], part: str, path: Path) -> dict[Any, dict[str, Any]]:
    """Items by id: a category's position says nothing."""
    found = {item["id"]: item for item in items}
    if len(found) < len(items):
        raise InputError("each id once", f"one twice among the {part} of {path.name}", "export the file again")
    return found


def _parse_bbox(annotation: dict[str, Any], where: str) -> Box | None:
    """The box of an annotation; one without stands for the whole image."""
    if not (bbox := annotation.get("bbox")):
        return None
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(type(each) in (int, float) for each in bbox):
        raise InputError("a bbox of four numbers x, y, width, height", f"{str(bbox)[:40]} at {where}", "correct it")
    x, y, width, height = map(float, bbox)
    return parse_box(f"{x!r} {y!r} {x + width!r} {y + height!r}", where)


def _build_image(image: dict[str, Any], labels: list[Label], path: Path, complete: bool) -> LabelledImage:
    name = str(image["file_name"]).replace("\\", "/")  # as tools on Windows write it
    width, height = image.get("width"), image.get("height")
    size = (int(width), int(height)) if width and height else None
    return LabelledImage(name, labels, f"{path.name} ({name[-80:]})", size=size, complete=complete)
