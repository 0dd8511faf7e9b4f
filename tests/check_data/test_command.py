import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from d2seg import cli
from d2seg.check_data import Expectations
from d2seg.check_data.configs import expectations
from d2seg.config import load_config
from d2seg.framework import DatasetCatalog, MetadataCatalog
from tests.check_data.conftest import DataFolder, clean_content
from tests.conftest import ROOT, RunPython

NUCLEI = ROOT / "tests" / "data" / "nuclei"
MASK_RCNN = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"


def run(folder: DataFolder, *arguments: str) -> int:
    """Write the data set and run the command on it."""
    folder.json.write_text(json.dumps(folder.content))
    files = ["--json", str(folder.json), "--images", str(folder.images)]
    return cli.main(["check-data", *files, *arguments])


@pytest.fixture
def unregister() -> Iterator[None]:
    """Forget the data sets that a test registers."""
    before = set(DatasetCatalog.list())
    yield
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def write_config(tmp_path: Path, **datasets: DataFolder) -> str:
    """Write a config that trains on 'train' and tests on 'test'."""
    register = {}
    for name, folder in datasets.items():
        folder.json.write_text(json.dumps(folder.content))
        register[name] = {"json": str(folder.json), "image_root": str(folder.images)}
    config = {
        "_BASE_": str(ROOT / "configs" / MASK_RCNN),
        "MODEL": {"ROI_HEADS": {"NUM_CLASSES": -1}},
        "DATASETS": {
            "REGISTER": register,
            "TRAIN": [name for name in datasets if name.startswith("train")],
            "TEST": [name for name in datasets if name.startswith("test")],
        },
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def make_folder(tmp_path: Path, name: str) -> DataFolder:
    (tmp_path / name).mkdir()
    return DataFolder(tmp_path / name)


def test_the_nuclei_pass(capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--json", str(NUCLEI / "instances_val.json"), "--images", str(NUCLEI / "images")]
    assert cli.main(["check-data", *files, "--num-classes", "1"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(
        "instances_val.json: 85 images, 2270 annotations, 1 category; 0 errors, 0 warnings, "
        "0 notes. It can be trained on."
    )


def test_warnings_alone_are_code_0(folder: DataFolder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.annotation(area=6000)
    assert run(folder) == 0
    assert capsys.readouterr().out.startswith("warning: area differs: 1. Annotation 1 of 'a.png'")


def test_errors_are_code_1(folder: DataFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--num-classes", "1") == 1
    printed = capsys.readouterr().out
    assert "The file has 2 categories, the model NUM_CLASSES 1; set NUM_CLASSES to 2" in printed
    assert printed.endswith("Correct the errors before training.\n")
    assert run(folder, "--num-classes", "-1") == 0


def test_a_terminal_gets_a_table(
    folder: DataFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    folder.annotation(bbox=[1, 1, 0, 5])
    folder.content["images"][0]["file_name"] = "[red]gone.png"  # no markup of the table's
    assert run(folder) == 1
    printed = capsys.readouterr().out
    assert "│" in printed
    assert "box without area" in printed
    assert "[red]gone.png" in printed


def test_only_decoding_finds_a_truncated_file(folder: DataFolder) -> None:
    path = folder.images / "a.png"
    path.write_bytes(path.read_bytes()[:3000])
    assert run(folder) == 1
    assert run(folder, "--no-decode") == 0


def test_the_page_is_written(folder: DataFolder, tmp_path: Path) -> None:
    folder.annotation(bbox=[1, 1, 0, 5])
    assert run(folder, "--output", str(tmp_path / "report"), "--max-pictures", "2") == 1
    html = (tmp_path / "report" / "index.html").read_text()
    assert html.count("data:image/jpeg") == 2
    findings = json.loads((tmp_path / "report" / "findings.json").read_text())
    assert findings["data_sets"][0]["findings"][0]["kind"] == "box without area"


def test_the_corrected_copy_decides_about_the_code(
    folder: DataFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.annotation(bbox=[1, 1, 0, 5])
    target = tmp_path / "new" / "corrected.json"
    assert run(folder, "--fix", str(target)) == 0
    printed = capsys.readouterr().out
    assert "    boxes taken from the mask: 1 (such as annotation 1)" in printed
    assert json.loads(target.read_text()) == clean_content()
    # What is left is an error of the model's, not of the data's.
    assert run(folder, "--fix", str(target), "--num-classes", "1") == 1


def test_nothing_to_correct_is_said(
    folder: DataFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "--fix", str(tmp_path / "copy.json")) == 0
    assert "nothing had to be changed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "Give --json and --images, or --config-file."),
        (["--json", "a.json"], "Give --json and --images, or --config-file."),
        (["--json", "a.json", "--images", "."], "There is no annotation file 'a.json'."),
        (["--json", "a.json", "--images", "gone"], "There is no image folder 'gone'."),
        (["--json", "a", "--images", ".", "A.B", "1"], "'A.B' overrides a config, but there is no"),
        (["--config-file", "a", "--num-classes", "3"], "leave out --num-classes."),
        (["--json", "a", "--images", ".", "--num-classes", "0"], "--num-classes is 0; a number"),
        (["--json", "a", "--images", ".", "--max-pictures", "-1"], "--max-pictures is -1;"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check-data", *arguments]) == 1
    printed = capsys.readouterr().err
    assert complaint in printed
    assert printed.count("\n") == 1


@pytest.mark.usefixtures("unregister")
def test_a_config_names_its_data_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, test = make_folder(tmp_path, "one"), make_folder(tmp_path, "two")
    for name in "abc":
        with (test.images / f"{name}.png").open("ab") as file:
            file.write(b"no copy")
    config = write_config(tmp_path, train_ours=train, test_ours=test)
    assert cli.main(["check-data", "--config-file", config]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["train_ours", "test_ours"]
    assert (
        cli.main(["check-data", "--config-file", config, "MODEL.ROI_HEADS.NUM_CLASSES", "1"]) == 1
    )


@pytest.mark.usefixtures("unregister")
@pytest.mark.parametrize(("tested", "severity"), [("()", "warning"), ("('train_few',)", "error")])
def test_too_few_categories_stop_an_evaluation_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tested: str, severity: str
) -> None:
    config = write_config(tmp_path, train_few=make_folder(tmp_path, "one"))
    overrides = ["MODEL.ROI_HEADS.NUM_CLASSES", "4", "DATASETS.TEST", tested]
    code = cli.main(["check-data", "--config-file", config, *overrides])
    assert code == (severity == "error")
    printed = capsys.readouterr().out
    assert f"{severity}: categories and NUM_CLASSES: 1. The file has 2 categories" in printed


@pytest.mark.usefixtures("unregister")
def test_data_sets_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, test = make_folder(tmp_path, "one"), make_folder(tmp_path, "two")
    with (test.images / "c.png").open("ab") as file:
        file.write(b"no copy")
    test.content["categories"][1]["name"] = "fiber"
    config = write_config(tmp_path, train_two=train, test_two=test)
    output = tmp_path / "report"
    assert cli.main(["check-data", "--config-file", config, "--output", str(output)]) == 1
    printed = capsys.readouterr().out
    assert "The categories of 'test_two' are not those of 'train_two': it has 'fiber'." in printed
    assert "2 of 3 images of 'test_two' are in 'train_two' too, such as " in printed
    assert "Between the data sets" in (output / "index.html").read_text()


@pytest.mark.usefixtures("unregister")
def test_testing_on_what_is_trained_on_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, train_five=make_folder(tmp_path, "one"))
    command = ["check-data", "--config-file", config, "DATASETS.TEST", "('train_five',)"]
    assert cli.main(command) == 0
    assert "'train_five' is trained on and tested on" in capsys.readouterr().out


@pytest.mark.usefixtures("unregister")
def test_rle_is_an_error_only_where_polygons_are_trained(tmp_path: Path) -> None:
    train = make_folder(tmp_path, "one")
    train.content["annotations"][2]["iscrowd"] = 0
    config = write_config(tmp_path, train_three=train)
    command = ["check-data", "--config-file", config]
    assert cli.main(command) == 1
    assert cli.main([*command, "INPUT.MASK_FORMAT", "bitmask"]) == 0
    assert cli.main([*command, "MODEL.MASK_ON", "False"]) == 0
    assert cli.main([*command, "DATASETS.TEST", "('train_three',)", "DATASETS.TRAIN", "()"]) == 0


@pytest.mark.usefixtures("unregister")
@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["DATASETS.TRAIN", "('mine',)"], "There is no data set 'mine'"),
        (["DATASETS.TRAIN", "()", "DATASETS.TEST", "()"], "name no data set; set one of them."),
    ],
)
def test_a_config_without_data_is_an_error(
    overrides: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check-data", "--config-file", MASK_RCNN, *overrides]) == 1
    assert complaint in capsys.readouterr().err


@pytest.mark.usefixtures("unregister")
def test_one_file_is_written_for_one_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, test = make_folder(tmp_path, "one"), make_folder(tmp_path, "two")
    config = write_config(tmp_path, train_four=train, test_four=test)
    target = tmp_path / "corrected.json"
    assert cli.main(["check-data", "--config-file", config, "--fix", str(target)]) == 1
    assert "--fix writes one file, but the config has 2 data sets" in capsys.readouterr().err
    assert not target.exists()


def test_data_in_another_format_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ["DATASETS.TRAIN", "('voc_2007_train',)", "DATASETS.TEST", "()"]
    assert cli.main(["check-data", "--config-file", MASK_RCNN, *overrides]) == 0
    printed = capsys.readouterr()
    assert "voc_2007_train: left out, it is not in COCO's format." in printed.out
    assert "Nothing was checked" in printed.out


@pytest.mark.parametrize(
    ("config", "overrides", "expected"),
    [
        (MASK_RCNN, [], Expectations(80, "polygon", None)),
        (MASK_RCNN, ["INPUT.MASK_FORMAT", "bitmask"], Expectations(80, "bitmask", None)),
        (MASK_RCNN, ["MODEL.ROI_HEADS.NUM_CLASSES", "-1"], Expectations(80, "polygon", None)),
        (
            "COCO-Detection/retinanet_R_50_FPN_1x.yaml",
            ["MODEL.RETINANET.NUM_CLASSES", "7"],
            Expectations(7, "none", None),
        ),
        ("COCO-Detection/rpn_R_50_FPN_1x.yaml", [], Expectations(None, "none", None)),
        ("COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml", [], Expectations(1, "none", 17)),
    ],
)
def test_what_a_model_asks_for(config: str, overrides: list[str], expected: Expectations) -> None:
    assert expectations(load_config(config, overrides)) == expected


def test_a_page_without_pictures_is_not_said_to_have_any(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, output = tmp_path / "broken.json", tmp_path / "report"
    broken.write_text("{")
    files = ["--json", str(broken), "--images", str(tmp_path)]
    assert cli.main(["check-data", *files, "--output", str(output)]) == 1
    assert f"{output / 'index.html'}: what was found; " in capsys.readouterr().out


def test_help_needs_no_torch(run_python: RunPython) -> None:
    code = (
        "import sys; from d2seg.cli import main\n"
        "try: main(['check-data', '--help'])\n"
        "except SystemExit as stop: print('code', stop.code, 'torch' in sys.modules)"
    )
    done = run_python("-c", code)
    assert done.stdout.startswith("usage: d2seg check-data"), done.stderr
    assert done.stdout.endswith("code 0 False\n")


@pytest.mark.usefixtures("unregister")
def test_label_maps_are_left_out_without_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    DatasetCatalog.register("label_maps", list)
    config = write_config(tmp_path)
    command = ["check-data", "--config-file", config, "--output", str(tmp_path / "page")]
    opts = ["DATASETS.TRAIN", "('label_maps',)", "MODEL.ROI_HEADS.NUM_CLASSES", "1"]
    assert cli.main([*command, *opts]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "label_maps: left out, it is not in COCO's format."
    assert out[1].startswith("Nothing was checked: the annotations of objects in COCO's format are")
    assert not (tmp_path / "page").exists()
    assert cli.main([*command, "--fix", str(tmp_path / "fixed.json"), *opts]) == 1
    assert "the config has 0 data sets in COCO's format" in capsys.readouterr().err
