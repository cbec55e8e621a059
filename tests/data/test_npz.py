"""The user's own images: valid arrays are read unchanged, others are refused in one line."""

import re
import zipfile

import numpy as np
import pytest
from conftest import random_images, tiny

from jaxcifar import data, evaluate
from jaxcifar.errors import UserError
from jaxcifar.pages import runs
from jaxcifar.training import trainer
from jaxcifar.weights import evaluation


def arrays(train=30, test=12, classes=3, **changes):
    """The arrays of a small data set, with changes; None leaves one out."""
    made = {}
    for part, count in (("train", train), ("test", test)):
        labels = np.arange(count) % classes
        made |= {f"{part}_images": random_images(count, 32, 32, 3), f"{part}_labels": labels}
    made["class_names"] = np.array([f"class {i}" for i in range(classes)])
    return {key: value for key, value in (made | changes).items() if value is not None}


@pytest.fixture
def written(tmp_path):
    """written(**changes) -> the path of the archive, as `np.savez` writes it."""

    def written(save=np.savez, name="own.npz", **changes):
        save(tmp_path / name, **arrays(**changes))
        return str(tmp_path / name)

    return written


def refusal(path):
    """Returns the one-line error for a file."""
    with pytest.raises(UserError) as error:
        data.load_dataset("npz", path, 0, 0)
    message = str(error.value)
    assert "\n" not in message
    assert path in message
    return message


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, ">i2"])
def test_the_arrays_come_back_as_they_were(written, save, dtype):
    want = arrays()
    labels = {f"{p}_labels": want[f"{p}_labels"].astype(dtype) for p in ("train", "test")}
    # in column order, as in a transposed array: the checksum depends on the content alone
    images = {f"{p}_images": np.asfortranarray(want[f"{p}_images"]) for p in ("train", "test")}
    got = data.load_dataset("npz", written(save, **labels, **images), 0, 0)
    for part in ("train", "test"):
        split = getattr(got, part)
        np.testing.assert_array_equal(split.images, want[f"{part}_images"])
        np.testing.assert_array_equal(split.labels, want[f"{part}_labels"])
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)
    assert got.class_names == ("class 0", "class 1", "class 2")
    assert got.checksum == data.load_dataset("npz", written(name="plain.npz"), 0, 0).checksum
    changed = want["train_images"].copy()
    changed[0, 0, 0, 0] ^= 1
    other = data.load_dataset("npz", written(name="other.npz", train_images=changed), 0, 0)
    assert other.checksum != got.checksum


def test_a_class_without_a_name_is_named_by_its_number(written):
    assert data.load_dataset("npz", written(class_names=None), 0, 0).class_names == ("0", "1", "2")


IMAGES, LABELS = arrays()["train_images"], arrays()["train_labels"]
WRONG = [
    ({"test_labels": None}, "lacks the array test_labels; expected train_images"),
    ({"names": np.array(["a"])}, "an unknown array 'names'; expected train_images"),
    ({"train_images": IMAGES / 255}, "train_images is float64 [30, 32, 32, 3]; expected uint8 [N,"),
    ({"train_images": IMAGES.swapaxes(1, 3)}, "train_images is uint8 [30, 3, 32, 32]"),
    ({"test_images": IMAGES[:0], "test_labels": LABELS[:0]}, "test_images is uint8 [0, 32, 32, 3]"),
    ({"train_labels": LABELS[:-1]}, "train_labels is int64 [29]; expected integers [30]"),
    ({"train_labels": LABELS[:, None]}, "train_labels is int64 [30, 1]; expected integers [30]"),
    ({"train_labels": LABELS.astype(float)}, "train_labels is float64 [30]; expected integers"),
    ({"train_labels": LABELS + 1}, "labels go from 0 to 3; expected 0 to 2, the indices of"),
    ({"train_labels": LABELS - 1}, "labels go from -1 to 2; expected 0 to 2"),
    ({"train_labels": LABELS.astype(np.uint64) + 2**63}, "labels go from 0 to 9223372036854775810"),
    (
        {"train_labels": LABELS + 5, "class_names": None},
        "has 6 labels from 0 to 7; expected every number from 0 to 7, or class_names",
    ),
    ({"class_names": np.array(["a", "b"])}, "labels go from 0 to 2; expected 0 to 1"),
    ({"class_names": np.array(["a", "b", "b"])}, "class_names are a, b, b; expected a different"),
    ({"class_names": np.array([1, 2, 3])}, "class_names is int64 [3]; expected text [C]"),
    ({"class_names": np.array("abc")}, "class_names is text []; expected text [C]"),
]


@pytest.mark.parametrize(("changes", "line"), WRONG, ids=[line[:40] for _, line in WRONG])
def test_a_wrong_array_is_refused_in_one_line(written, changes, line):
    assert line in refusal(written(**changes))


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["train_labels", "class_names"])
def test_a_pickled_array_is_refused_and_does_not_run(written, tmp_path, name):
    pickled = np.array([Hostile(tmp_path / "ran")] * 30, object)
    assert f"{name} is pickled objects [30]; expected" in refusal(written(**{name: pickled}))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_file_is_refused_or_read_correctly(written, tmp_path, save):
    """With the file cut or a bit flipped anywhere: never a traceback, never other images."""
    blob = (tmp_path / "own.npz").read_bytes() if written(save, train=3, test=3) else b""
    want = data.load_dataset("npz", str(tmp_path / "own.npz"), 0, 0).checksum
    bad = tmp_path / "bad.npz"
    rng = np.random.default_rng(0)
    for number in range(400):
        damaged = bytearray(blob)
        # most flips are in the headers of arrays and archive, which fail in many ways
        near = rng.choice([match.start() for match in re.finditer(b"NUMPY|PK", blob)])
        place = min(near + int(rng.integers(128)), len(blob) - 1)
        damaged[place] ^= 1 << int(rng.integers(8))
        bad.write_bytes(damaged if number % 2 else blob[: rng.integers(len(blob))])
        try:
            assert data.load_dataset("npz", str(bad), 0, 0).checksum == want
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_a_missing_file_or_a_file_of_another_format_is_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"needs config\.data\.dir=FILE\.npz; expected train_images"
    ):
        data.load_dataset("npz", "", 0, 0)
    (tmp_path / "text.npz").write_text("no archive")
    assert "is not a complete .npz file: File is not a zip file" in refusal(
        str(tmp_path / "text.npz")
    )
    assert "cannot read" in refusal(str(tmp_path))
    assert "does not exist" in refusal(str(tmp_path / "nowhere.npz"))


def header(shape, descr="|u1"):
    """The header of a .npy file."""
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("shape", "zeros"),
    [
        ((2, 32, 32, 3), 10**8),  # 97 kB that unpack to 100 MB, with a header for 6 kB
        ((10**9, 32, 32, 3), 10),  # a header for 3 TB in an archive of a few bytes
    ],
)
def test_an_archive_whose_size_contradicts_its_header_is_refused_unread(
    written, tmp_path, monkeypatch, shape, zeros
):
    path = written(train_images=None)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train_images.npy", header(shape) + bytes(zeros))
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("read"))
    assert "does not unpack to that size" in refusal(path)


def test_an_archive_whose_directory_lies_is_refused(written, tmp_path):
    """The directory gives the size that the header needs, but the bytes are missing."""
    path = written(train_images=None)
    content = header((10**9, 32, 32, 3))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train_images.npy", content)
        archive.getinfo("train_images.npy").file_size = len(content) + 3072 * 10**9
    assert re.search(r"would unpack from [\d,]+ to 3,072,\S+ bytes and was not", refusal(path))


def test_training_and_evaluation_on_own_data(written, tmp_path, run):
    """The classes are named and counted; a model with fewer outputs is refused."""
    path = written(train=48, test=12, classes=4)
    own = {"data.source": "npz", "data.dir": path, "num_epochs": 1}
    with pytest.raises(
        UserError, match=r"num_classes is 3, .* 4 classes: set --config\.model\.num_c"
    ):
        trainer.train(tiny(**own, **{"model.num_classes": 3}), tmp_path / "none")
    assert not (tmp_path / "none").exists()
    result = trainer.train(tiny(**own, **{"model.num_classes": 4}), tmp_path / "run")
    assert result.meta["class_names"] == [f"class {i}" for i in range(4)]
    status, out, _ = run(evaluate.main, ["--checkpoint", tmp_path / "run"])
    assert status == 0
    assert out.startswith("npz data, test, 12 images")
    rows = [line.split() for line in out.splitlines() if line.startswith("class ")]
    assert [row[1] for row in rows] == list("0123")
    assert [sum(map(int, row[4:])) for row in rows] == [3] * 4  # after accuracy and interval
    scores = evaluation.evaluate_run(tmp_path / "run", "latest", "test")
    assert scores["accuracy"] == result.lines[-1]["test_accuracy"]
    # If the file moves, the run continues; another file in its place is refused.
    moved = str(tmp_path / "moved.npz")
    (tmp_path / "own.npz").rename(moved)
    with pytest.raises(UserError, match="does not exist"):
        evaluation.evaluate_run(tmp_path / "run", "latest", "test")
    assert evaluation.evaluate_run(tmp_path / "run", "latest", "test", moved) == scores
    own["model.num_classes"] = 4
    assert trainer.train(tiny(**own | {"data.dir": moved}), tmp_path / "run").finished
    written(train=48, test=12, classes=4, train_images=random_images(48, 32, 32, 3, seed=1))
    before = {f: f.read_bytes() for f in (tmp_path / "run").rglob("*") if f.is_file()}
    with pytest.raises(
        UserError, match=r"run was trained on other data: .*own\.npz is [0-9a-f]{16};"
    ):
        trainer.train(tiny(**own), tmp_path / "run")
    assert {f: f.read_bytes() for f in (tmp_path / "run").rglob("*") if f.is_file()} == before


def test_other_data_may_have_fewer_images_than_were_held_out_and_have_results_of_their_own(
    written, tmp_path, run
):
    path = written(train=48, test=12)
    changes = {"data.source": "npz", "data.dir": path, "num_epochs": 1, "model.num_classes": 3}
    trainer.train(tiny(**changes, **{"data.validation": 12}), tmp_path / "run")
    for seed in (1, 2):
        few = written(
            name="few.npz", train=6, test=3, test_images=random_images(3, 32, 32, 3, seed=seed)
        )
        words = [f"--checkpoint={tmp_path / 'run'}", f"--data_dir={few}"]
        status, out, _ = run(evaluate.main, words)
        assert (status, out.count("test, 3 images")) == (0, 1)
    found = list((tmp_path / "run").glob("evaluation_test_step*_data_????????.json"))
    assert len(found) == 2


def test_data_with_the_classes_in_another_order_are_refused_unless_asked_for(
    written, tmp_path, run
):
    """The same images with reversed class numbers turn every accuracy upside down."""
    path = written(train=48, test=12, classes=2, class_names=["dark", "bright"])
    changes = {"data.source": "npz", "data.dir": path, "num_epochs": 1, "model.num_classes": 2}
    trainer.train(tiny(**changes), tmp_path / "run")
    whole = arrays(train=48, test=12, classes=2)
    flipped = {f"{part}_labels": 1 - whole[f"{part}_labels"] for part in ("train", "test")}
    swapped = {"classes": 2, "train": 48, "test": 12, "class_names": ["bright", "dark"]}
    other = written(name="other.npz", **swapped, **flipped)
    words = [f"--checkpoint={tmp_path / 'run'}", f"--data_dir={other}"]
    status, out, err = run(evaluate.main, words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "run has other classes (dark, bright); expected bright, dark, as in" in err
    status, out, _ = run(evaluate.main, [*words, "--other_classes"])
    assert status == 0
    assert f"note: {tmp_path / 'run'} was trained on other data: their checksum is" in out
    (page,) = runs.load_runs([tmp_path / "run"], "latest", other)
    assert page.scores is None
    assert "expected bright, dark" in page.notes[0]
    (page,) = runs.load_runs([tmp_path / "run"], "latest", other, other_classes=True)
    assert page.scores is not None
    assert "was trained on other data" in page.notes[0]
    # Only the names change places: the checksum, which covers images and labels, is the same.
    renamed = written(name="own.npz", **swapped)
    with pytest.raises(UserError, match=r"other classes .*; choose another --workdir"):
        trainer.train(tiny(**changes | {"data.dir": renamed}), tmp_path / "run")


def test_parts_of_sorted_data_have_the_classes_proportions(written):
    """Sorted by class, the last or first images would be of one class."""
    sizes = (40, 20, 4)
    labels = np.repeat(range(3), sizes)
    path = written(train=64, train_labels=labels)
    whole = data.load_dataset("npz", path, 0, 0)
    np.testing.assert_array_equal(whole.train.labels, labels)
    split = data.load_dataset("npz", path, 16, 32)
    np.testing.assert_array_equal(np.bincount(split.validation.labels), (10, 5, 1))
    np.testing.assert_array_equal(np.bincount(split.train.labels), (20, 10, 2))
    rest = data.load_dataset("npz", path, 16, 0)
    np.testing.assert_array_equal(rest.validation.images, split.validation.images)
    np.testing.assert_array_equal(rest.train.images[:32], split.train.images)
    labelled = [
        sorted((image.tobytes(), int(label)) for image, label in zip(*pair, strict=True))
        for pair in (
            whole.train,
            map(np.concatenate, zip(rest.train, rest.validation, strict=True)),
        )
    ]
    assert labelled[0] == labelled[1]


def test_the_official_order_is_kept(synthetic):
    """Recorded runs of CIFAR-10 and synthetic images depend on their split."""
    split = data.load_dataset("synthetic", "", 100, 50)
    np.testing.assert_array_equal(split.validation.labels, synthetic.train.labels[-100:])
    np.testing.assert_array_equal(split.train.labels, synthetic.train.labels[:50])
