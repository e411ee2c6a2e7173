"""Tables of other data sets and annotation tools: found, read in their real formats, and mapped by name."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts.datalist import read_datalist
from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES
from scripts.preparation import prepare
from scripts.synthetic import generate_tree
from scripts.tables import FORMATS, Tables, detect_format, read_tables
from scripts.tables.mapping import LabelMap, find_mapping

#: The first lines of the published files, with ids and numbers made up.
RSNA = """patientId,x,y,width,height,Target
0004cfab-14fd,,,,,0
00436515-870c,264.0,152.0,213.0,379.0,1
00436515-870c,562.0,152.0,256.0,453.0,1
00704310-78a8,,,,,0
"""
RSNA_CLASSES = """patientId,class
0004cfab-14fd,No Lung Opacity / Not Normal
00436515-870c,Lung Opacity
00436515-870c,Lung Opacity
00704310-78a8,Normal
"""
VINDR = """image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max
50a418190bc3,No finding,14,R11,,,,
50a418190bc3,No finding,14,R15,,,,
50a418190bc3,No finding,14,R2,,,,
9a5094b2563a,Cardiomegaly,3,R10,691.0,1375.0,1653.0,1831.0
9a5094b2563a,Consolidation,4,R8,100.0,200.0,300.0,400.0
9a5094b2563a,Infiltration,6,R9,110.0,210.0,310.0,410.0
9a5094b2563a,Lung Opacity,7,R9,112.0,212.0,312.0,412.0
9a5094b2563a,Lung Opacity,7,R10,900.0,900.0,950.0,950.0
1c32170b4af4,Lung Opacity,7,R8,10.0,20.0,30.0,40.0
1c32170b4af4,Pleural effusion,10,R9,1.0,2.0,3.0,4.0
1c32170b4af4,Pleural effusion,10,R10,1.0,2.0,3.0,4.0
"""
NIH_BOXES = """Image Index,Finding Label,Bbox [x,y,w,h],,,
00013118_008.png,Atelectasis,225.084745762712,547.019216763771,86.7796610169491,79.1864406779661,,,
00008814_010.png,Infiltrate,300.5,200.25,100,50,,,
00008814_011.png,Pneumonia,10,20,30,40,,,
"""
NIH_LABELS = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
    "00000002_000.png,No Finding,0,2,081Y,M,PA,2500,2048,0.171,0.171,\n"
    "00008814_010.png,Infiltration|Effusion,10,8814,057Y,M,PA,2992,2991,0.143,0.143,\n"
    "00008814_011.png,Consolidation|Pneumonia,11,8814,057Y,M,PA,2992,2991,0.143,0.143,\n"
    "00000003_000.png,Hernia,0,3,081Y,F,PA,2582,2991,0.143,0.143,\n"
)
COCO: dict[str, Any] = {
    "info": {"description": "exported"},
    "images": [
        {"id": 7, "file_name": "a.png", "width": 1024, "height": 800},
        {"id": 3, "file_name": "one\\b.png", "width": 1024, "height": 800},
    ],
    "categories": [{"id": 9, "name": "opacity"}, {"id": 2, "name": "lungs"}, {"id": 5, "name": "typical"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 9, "bbox": [10, 20, 30.5, 40], "area": 1220, "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 2, "bbox": [5, 6, 100, 200]},
        {"id": 3, "image_id": 7, "category_id": 2, "bbox": [200, 7, 100, 210]},
        {"id": 4, "image_id": 7, "category_id": 5, "bbox": []},
    ],
}


def write(path: Path, text: str | Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


def write_map(folder: Path, **classes: str | None) -> Path:
    """A map of labels to study classes that says nothing of boxes; an underscore stands for a blank."""
    meanings = {name.replace("_", " "): {"boxes": None, "study_class": each} for name, each in classes.items()}
    return write(folder / "map.json", meanings)


def read_boxes(tables: Tables) -> dict[str, tuple[tuple[float, ...], ...]]:
    return {name: row.boxes for name, row in tables.images.items()}


def read_known(tables: Tables) -> dict[str, bool | None]:
    return {name: row.boxes_known for name, row in tables.images.items()}


def test_tables_of_rsna_pneumonia_are_read(tmp_path: Path):
    boxes = write(tmp_path / "stage_2_train_labels.csv", RSNA)
    expected = ((264, 152, 477, 531), (562, 152, 818, 605))
    for with_classes in (False, True):
        if with_classes:
            write(tmp_path / "stage_2_detailed_class_info.csv", RSNA_CLASSES)
        for path in (boxes, tmp_path):
            tables = read_tables(path)
            assert read_boxes(tables) == {"0004cfab-14fd": (), "00436515-870c": expected, "00704310-78a8": ()}
            assert all(read_known(tables).values()) and tables.study_labels == {}
            assert all(row.patient == name == row.study_id for name, row in tables.images.items())


RSNA_WRONG = {
    "a target without a box": (RSNA.replace("0004cfab-14fd,,,,,0", "0004cfab-14fd,,,,,1"), RSNA_CLASSES, "a box where"),
    "a box without a target": (RSNA.replace("379.0,1", "379.0,0"), RSNA_CLASSES, "a box where Target is 1"),
    "a class of another table": (RSNA, RSNA_CLASSES.replace(",Normal", ",Lung Opacity"), "Lung Opacity exactly"),
    "two classes": (RSNA, RSNA_CLASSES.replace(",Lung Opacity", ",Normal", 1), "one class for an image.* line 4"),
    "an unknown class": (RSNA, RSNA_CLASSES.replace(",Normal", ",Healthy"), "a label of rsna.json, found .*Healthy"),
    "no target": (RSNA.replace("Target", "target value"), RSNA_CLASSES, "no Target in stage_2_train_labels.csv"),
}


@pytest.mark.parametrize(("boxes", "classes", "message"), RSNA_WRONG.values(), ids=RSNA_WRONG)
def test_tables_of_rsna_that_contradict_each_other_are_rejected(tmp_path: Path, boxes: str, classes: str, message: str):
    write(tmp_path / "stage_2_detailed_class_info.csv", classes)
    with pytest.raises(InputError, match=message):
        read_tables(write(tmp_path / "stage_2_train_labels.csv", boxes), "rsna")


def test_boxes_of_vindrs_readers_are_fused_where_most_of_them_agree(tmp_path: Path):
    tables = read_tables(write(tmp_path / "train.csv", VINDR))
    boxes = read_boxes(tables)
    assert boxes["50a418190bc3"] == () and boxes["1c32170b4af4"] == ()
    (fused,) = boxes["9a5094b2563a"]
    assert fused == pytest.approx((105.5, 205.5, 305.5, 405.5)), "two boxes of one reader count once"
    known = {"50a418190bc3": True, "9a5094b2563a": True, "1c32170b4af4": False}
    assert read_known(tables) == known, "where one of three readers sees an opacity, nobody knows"


def test_a_consensus_of_vindr_is_taken_as_it_stands(tmp_path: Path):
    text = "image_id,class_name,x_min,y_min,x_max,y_max\na,Lung Opacity,1,2,3,4\na,Consolidation,11,12,13,14\n"
    assert read_boxes(read_tables(write(tmp_path / "test.csv", text)))["a"] == ((1, 2, 3, 4), (11, 12, 13, 14))


def test_fused_boxes_lie_between_those_of_the_readers(tmp_path: Path):
    """Of two readers who agree, the mean of both boxes."""
    random.seed(1)
    corners = [[random.uniform(10 + 300 * n, 20 + 300 * n) for n in range(4) for _ in (0, 1)] for _ in (0, 1)]
    boxes = [[(c[2 * n], c[2 * n + 1], c[2 * n] + 100, c[2 * n + 1] + 90) for n in range(4)] for c in corners]
    rows = [f"a,Lung Opacity,R{r},{','.join(map(str, box))}" for r, each in enumerate(boxes) for box in each]
    text = "image_id,class_name,rad_id,x_min,y_min,x_max,y_max\n" + "\n".join(rows)
    fused = read_boxes(read_tables(write(tmp_path / "train.csv", text)))["a"]
    np.testing.assert_allclose(sorted(fused), np.mean(boxes, axis=0))


def test_classes_of_vindr_that_were_renumbered_are_rejected(tmp_path: Path):
    text = VINDR.replace("Infiltration,6", "Infiltration,7")
    with pytest.raises(InputError, match="one class_name for a class_id, found '7' with two"):
        read_tables(write(tmp_path / "train.csv", text))


def test_boxes_and_labels_of_nih_are_read_with_their_odd_header(tmp_path: Path):
    boxes = write(tmp_path / "BBox_List_2017.csv", NIH_BOXES)
    alone = read_tables(boxes)
    assert read_boxes(alone)["00008814_010"] == ((300.5, 200.25, 400.5, 250.25),)
    assert read_known(alone) == {"00013118_008": False, "00008814_010": True, "00008814_011": True}
    write(tmp_path / "Data_Entry_2017.csv", NIH_LABELS)
    both = read_tables(tmp_path)
    assert len(both.images) == 5 and both.images["00008814_010"].patient == "00008814"
    assert both.study_labels == {} and both.images["00000002_000"].study_id == "00000002_000"
    assert read_known(both) == {
        "00013118_008": False,
        "00008814_010": True,  # Infiltration in one table is Infiltrate in the other
        "00008814_011": False,  # its Consolidation has no box
        "00000002_000": True,
        "00000003_000": False,
    }


def test_boxes_of_coco_are_read_by_id(tmp_path: Path):
    tables = read_tables(write(tmp_path / "export.json", COCO))
    assert read_boxes(tables) == {"a": ((10, 20, 40.5, 60),), "b": ()}
    assert tables.lung_boxes["a"].box == (5, 6, 300, 217), "one box round both lungs"
    assert tables.study_labels == {"a": "typical"} and tables.images["b"].image == "one/b.png"
    assert tables.images["a"].size == (1024, 800) and all(read_known(tables).values())


def test_an_image_of_coco_without_any_category_of_opacities_is_unknown(tmp_path: Path):
    lungs = {**COCO, "categories": COCO["categories"][1:2], "annotations": COCO["annotations"][1:2]}
    assert not any(read_known(read_tables(write(tmp_path / "lungs.json", lungs))).values())


COCO_WRONG = {
    "no image": ({"images": [], "annotations": [], "categories": []}, "at least one image, found none in the table"),
    "no JSON": ("{", "JSON with images with id, file_name; annotations"),
    "another JSON": ({"images": []}, "another content in export.json"),
    "an image twice": ({**COCO, "images": COCO["images"][:1] * 2}, "one twice among the images of export.json"),
    "an annotation of nothing": ({**COCO, "images": COCO["images"][1:]}, "that are there, found export.json annot.* 1"),
    "a short box": ({**COCO, "annotations": [{**COCO["annotations"][0], "bbox": [1, 2, 3]}]}, "four numbers x, y"),
    "an empty box": ({**COCO, "annotations": [{**COCO["annotations"][0], "bbox": [1, 2, 0, 3]}]}, "xmin < xmax"),
    "an unknown category": ({**COCO, "categories": [{"id": 9, "name": "GGO"}]}, "a label of coco.json, found 'GGO'"),
}


@pytest.mark.parametrize(("content", "message"), COCO_WRONG.values(), ids=COCO_WRONG)
def test_a_coco_file_that_is_wrong_is_named(tmp_path: Path, content: str | dict[str, Any], message: str):
    with pytest.raises(InputError, match=message) as caught:
        read_tables(write(tmp_path / "export.json", content))
    assert "\n" not in str(caught.value)


#: Every class, the rare ones next to each other and in another order than `STUDY_CLASSES`.
VOTES = {"A": "atypical", "I": "indeterminate", "T": "typical", "N": "negative"}


def write_votes(folder: Path, form: str, names: Mapping[str, str]) -> Path:
    """A table of one image for each label, in the format; the labels are called by `names`."""
    if form == "vindr":
        rows = [f"image{key},{name},{number},R1,,,," for number, (key, name) in enumerate(names.items())]
        return write(folder / "train.csv", "\n".join([VINDR.splitlines()[0], *rows]))
    if form == "nih":
        header, *_ = NIH_LABELS.splitlines()
        rows = [f"image{key},{name},0,1,081Y,F,PA,1,1,1,1," for key, name in names.items()]
        return write(folder / "Data_Entry_2017.csv", "\n".join([header, *rows]))
    categories = [{"id": 10 - number, "name": name} for number, name in enumerate(names.values())]
    images = [{"id": number, "file_name": f"image{key}"} for number, key in enumerate(names)]
    annotations = [{"image_id": number, "category_id": 10 - number} for number in range(len(names))]
    random.Random(0).shuffle(categories)
    return write(folder / "a.json", {"images": images, "annotations": annotations, "categories": categories})


@pytest.mark.parametrize("form", ["vindr", "nih", "coco"])
@pytest.mark.parametrize("seed", range(3))
def test_rare_classes_are_not_swapped_when_external_votes_are_mapped(tmp_path: Path, form: str, seed: int):
    """A known mistake of published solutions: labels that are mapped by their position."""
    order = random.Random(seed).sample(sorted(VOTES), len(VOTES))
    names = {key: f"vote {key}" for key in random.Random(seed + 9).sample(order, len(order))}
    label_map = write_map(tmp_path, **{f"vote {key}": VOTES[key] for key in order})
    tables = read_tables(write_votes(tmp_path, form, names), label_map=label_map)
    assert tables.study_labels == {f"image{key}": VOTES[key] for key in VOTES}


def test_a_map_whose_classes_are_swapped_swaps_exactly_them(tmp_path: Path):
    swapped = VOTES | {"A": "indeterminate", "I": "atypical"}
    votes = write_votes(tmp_path, "coco", {key: key for key in VOTES})
    tables = read_tables(votes, label_map=write_map(tmp_path, **swapped))
    assert tables.study_labels == {f"image{key}": name for key, name in swapped.items()}


@pytest.mark.parametrize("form", ["rsna", "vindr", "nih"])
def test_the_map_of_another_data_set_names_no_study_class(form: str):
    meanings = LabelMap(find_mapping(form)).meanings
    assert {meaning.study_class for meaning in meanings.values()} == {None}
    assert {"opacity", "none"} <= {meaning.boxes for meaning in meanings.values()}


def test_the_map_of_coco_names_each_class_by_itself():
    meanings = LabelMap(find_mapping("coco")).meanings
    assert {name: meanings[name].study_class for name in STUDY_CLASSES} == {name: name for name in STUDY_CLASSES}


MAPS_WRONG = {
    "a label twice": ('{"A": {"boxes": null, "study_class": null}, "A": {}}', "each label once, found 'A' twice"),
    "a class that is none": ({"A": {"boxes": None, "study_class": "Typical"}}, "negative, typical, .* found .*Typical"),
    "boxes that are none": ({"A": {"boxes": "box", "study_class": None}}, "opacity, none, lungs or null"),
    "a key too little": ({"A": {"study_class": "typical"}}, '"study_class": one of'),
    "a word for a meaning": ({"A": "typical"}, '"boxes": one of'),
    "no map": ("[1]", '"boxes": one of'),
    "no JSON": ("{", "a label map in JSON, found map.json"),
}


@pytest.mark.parametrize(("content", "message"), MAPS_WRONG.values(), ids=MAPS_WRONG)
def test_a_map_that_is_wrong_is_named(tmp_path: Path, content: str | dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        LabelMap(write(tmp_path / "map.json", content))


def test_a_label_that_the_map_lacks_and_one_of_two_classes_are_named(tmp_path: Path):
    table = write(tmp_path / "Data_Entry_2017.csv", NIH_LABELS.replace("Hernia", "Hernia|Mass"))
    with pytest.raises(InputError, match=r"a label of map.json, found 'No Finding' at Data_Entry_2017.csv line 2"):
        read_tables(table, label_map=write_map(tmp_path, Hernia="typical"))
    named = dict.fromkeys(("No_Finding", "Infiltration", "Effusion", "Consolidation", "Pneumonia"))
    label_map = write_map(tmp_path, **named, Hernia="typical", Mass="atypical")
    with pytest.raises(
        InputError, match="one study class, found atypical by 'Mass' and typical by 'Hernia' at .*line 5"
    ):
        read_tables(table, label_map=label_map)


def test_a_map_is_for_labels_of_other_data_sets(tmp_path: Path):
    own = write(tmp_path / "own.csv", "study,image,label,boxes\ns,a.dcm,typical,\n")
    with pytest.raises(InputError, match="a label map with rsna, vindr, nih, coco, found one with own"):
        read_tables(own, label_map=write_map(tmp_path, A="typical"))
    with pytest.raises(InputError, match="a label map, found none at .*nowhere.json"):
        read_tables(own, "rsna", tmp_path / "nowhere.json")


DETECTED = {
    "stage_2_train_labels.csv": (RSNA, "rsna"),
    "boxes.csv": (RSNA.replace(",", ";"), "rsna"),
    "train.csv": ("\ufeff" + VINDR, "vindr"),
    "BBox_List_2017.csv": (NIH_BOXES, "nih"),
    "labels.csv": (NIH_LABELS, "nih"),
    "export.json": ("{}", "coco"),
    "datastore_v2.json": ("{}", "label"),
    "own.csv": ("study;image;label;boxes\ns;a.dcm;typical;1,5 2 3 4\n", "own"),
    "broken.csv": ('"', "own"),
    "empty.csv": ("", "own"),
}


@pytest.mark.parametrize("name", DETECTED)
def test_a_format_is_found_by_columns_and_files(tmp_path: Path, name: str):
    text, expected = DETECTED[name]
    assert detect_format(write(tmp_path / name, text)) == expected and expected in FORMATS


def test_a_folder_of_two_formats_is_named_and_may_be_told_apart(tmp_path: Path):
    write(tmp_path / "stage_2_train_labels.csv", RSNA)
    write(tmp_path / "BBox_List_2017.csv", NIH_BOXES)
    with pytest.raises(InputError, match="tables of one format, found those of rsna and nih"):
        read_tables(tmp_path)
    assert len(read_tables(tmp_path, "nih").images) == 3
    with pytest.raises(InputError, match="one of challenge, own, rsna, vindr, nih, coco, label, found 'kaggle'"):
        read_tables(tmp_path, "kaggle")


@pytest.mark.parametrize("text", ["2.02E+15", "02-Jan"])
@pytest.mark.parametrize("form", ["rsna", "vindr", "nih"])
def test_an_id_that_a_spreadsheet_mangled_is_rejected_in_every_format(tmp_path: Path, form: str, text: str):
    first, content = {
        "rsna": ("0004cfab-14fd", RSNA),
        "vindr": ("50a418190bc3", VINDR),
        "nih": ("00013118_008.png", NIH_BOXES),
    }[form]
    with pytest.raises(InputError, match=r"line 2 \(column .*format the column as text"):
        read_tables(write(tmp_path / "table.csv", content.replace(first, text)), form)


@pytest.mark.parametrize("form", ["rsna", "vindr", "nih"])
def test_what_a_spreadsheet_saved_again_reads_the_same(tmp_path: Path, form: str):
    content = {"rsna": RSNA, "vindr": VINDR, "nih": NIH_BOXES}[form]
    before = read_boxes(read_tables(write(tmp_path / "a.csv", content), form))
    semicolons = re.sub(r"(\d)\.(\d)", r"\1,\2", content.replace(",", ";"))
    assert read_boxes(read_tables(write(tmp_path / "b.csv", f"\ufeffsep=;\n{semicolons}"), form)) == before


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of synthetic images, 96 pixels, in folders that no table names."""
    tree = tmp_path_factory.mktemp("formats") / "images"
    generate_tree(tree, num_studies=8, num_test_studies=1, size=96, workers=1)
    for path in tree.glob("*.csv"):
        path.unlink()
    return tree


def describe_images(datalist: Path) -> dict[str, dict[str, Any]]:
    content = read_datalist(datalist)
    return {Path(image["image"]).stem: image for image in [*content["training"], *content["test"]]}


def test_images_are_found_by_name_wherever_they_lie(tree: Path, tmp_path: Path):
    names = sorted(path.stem for path in tree.rglob("*.dcm"))
    rows = [f"{names[0]},1.0,2.0,30.0,40.0,1", *(f"{name},,,,,0" for name in names[1:]), "absent,,,,,0"]
    table = write(tmp_path / "boxes.csv", "\n".join([RSNA.splitlines()[0], *rows]))
    prepared = prepare(tree, tmp_path / "out", table, num_folds=2, workers=1)
    images = describe_images(prepared.datalist)
    assert prepared.num_training == 0 and prepared.num_test == len(images) > 4
    assert images[names[0]]["boxes"] == [[1, 2, 31, 42]] and images[names[0]]["boxes_known"]
    assert 'dropped,absent,absent,,"no file of its name' in prepared.decisions.read_text()


def test_study_classes_reach_the_datalist_as_they_were_mapped(tree: Path, tmp_path: Path):
    names = sorted(path.stem for path in tree.rglob("*.dcm"))
    given = {name: sorted(VOTES)[number % 4] for number, name in enumerate(names)}
    rows = [f"{name},{vote},{sorted(VOTES).index(vote)},R1,,,," for name, vote in given.items()]
    table = write(tmp_path / "train.csv", "\n".join([VINDR.splitlines()[0], *rows]))
    label_map = write_map(tmp_path, **VOTES)
    images = describe_images(prepare(tree, tmp_path / "o", table, 2, workers=1, label_map=label_map).datalist)
    found = {name: STUDY_CLASSES[image["label"]] for name, image in images.items()}
    assert found and found == {name: VOTES[given[name]] for name in found}


def test_boxes_of_another_size_of_image_are_rejected(tree: Path, tmp_path: Path):
    name = min(path.name for path in tree.rglob("*.dcm"))
    coco = {**COCO, "images": [{"id": 7, "file_name": name, "width": 1024, "height": 800}]}
    with pytest.raises(InputError, match=r"boxes in pixels of the image, \d+ x \d+, found those of one of 1024 x 800"):
        prepare(tree, tmp_path / "out", write(tmp_path / "a.json", coco), workers=1)


def test_two_files_of_one_name_and_no_file_at_all_are_named(tree: Path, tmp_path: Path):
    write(tmp_path / "images" / "a.dcm", "")
    write(tmp_path / "images" / "b" / "a.png", "")
    table = write(tmp_path / "boxes.csv", f"{RSNA.splitlines()[0]}\na,,,,,0\n")
    with pytest.raises(InputError, match="one file of each name, found a.dcm and b/a.png"):
        prepare(tmp_path / "images", tmp_path / "out", table)
    both = [{"id": number, "file_name": f"{folder}/c.png"} for number, folder in enumerate("xy")]
    write(tmp_path / "images" / "c.png", "")
    coco = write(tmp_path / "a.json", {"images": both, "annotations": [], "categories": []})
    with pytest.raises(InputError, match=r"one image of a file, found a.json \(y/c.png\) and a.json \(x/c.png\)"):
        prepare(tmp_path / "images", tmp_path / "out", coco)
    with pytest.raises(InputError, match="images below .*, found none of the 1 that the tables name"):
        prepare(tree, tmp_path / "out", table)
