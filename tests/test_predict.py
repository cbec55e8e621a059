"""A run's weights in a script and in `predict`: they predict what training logged."""

import csv
import dataclasses
import io
import json
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from conftest import ROOT, random_images, tiny
from PIL import Image

import jaxcifar
from jaxcifar import predict
from jaxcifar.data import image_files
from jaxcifar.errors import UserError
from jaxcifar.figures import png
from jaxcifar.training import experiment, trainer
from jaxcifar.weights import explain


@pytest.fixture(scope="module")
def trained(tmp_path_factory, small_data_for_module):
    folder = tmp_path_factory.mktemp("runs") / "checkpoints" / "quickstart"
    return folder, trainer.train(tiny(num_epochs=3, **{"optimizer.ema_decay": 0.5}), folder)


def test_a_restored_net_predicts_what_training_logged(trained, synthetic):
    folder, result = trained
    net = jaxcifar.load(folder)
    assert (net.step, net.class_names) == (12, synthetic.class_names)
    split = result.dataset.test
    prediction = net.predict(split.images)
    assert (prediction.logits.argmax(1) == split.labels).mean() == result.lines[-1]["test_accuracy"]
    np.testing.assert_allclose(
        prediction.probabilities, jax.nn.softmax(prediction.logits), rtol=1e-6
    )
    assert {name: gate.shape for name, gate in prediction.gates.items()} == {
        "block0": (40, 2),
        "block1": (40, 2),
    }
    for array in (prediction.logits, prediction.probabilities, *prediction.gates.values()):
        assert type(array) is np.ndarray
    best = max(result.lines, key=lambda line: line["test_accuracy"])  # the first of equals
    assert jaxcifar.load(str(folder), step="best").step == best["step"]
    assert jaxcifar.load(folder, step=8).step == 8


def test_each_call_predicts_its_own_images(trained):
    net, images = jaxcifar.load(trained[0]), random_images(21, 32, 32, 3)
    whole = net.predict(images).logits
    for start, stop in ((0, 21), (3, 4), (0, 16), (5, 21)):  # one batch of 16, or two
        part = net.predict(images[start:stop]).logits
        np.testing.assert_allclose(part, whole[start:stop], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (np.zeros((2, 32, 32, 3)), r"float64 \[2, 32, 32, 3\]"),
        (np.zeros((2, 3, 32, 32), np.uint8), r"uint8 \[2, 3, 32, 32\]"),
        (np.zeros((32, 32, 3), np.uint8), r"uint8 \[32, 32, 3\]"),
        (np.zeros((0, 32, 32, 3), np.uint8), r"uint8 \[0, 32, 32, 3\]"),
    ],
)
def test_images_of_another_type_or_shape_are_refused(trained, images, found):
    with pytest.raises(UserError, match=rf"images are {found}; expected uint8 \[N, 32, 32, 3\]"):
        jaxcifar.load(trained[0]).predict(images)


def test_the_example_in_the_readme_prints_what_it_shows():
    section = (ROOT / "README.md").read_text().split("## From a script")[1]
    example, shown = re.findall(r"```(?:python|text)\n(.*?)```", section, re.DOTALL)[:2]
    command = [sys.executable, "-c", example]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, shown), done.stderr


def test_importing_the_package_imports_nothing_heavy():
    code = "import jaxcifar, sys; assert not {'jax', 'numpy', 'orbax'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_run_is_restored_without_its_optimizer(trained, monkeypatch, tmp_path):
    """Its optimizer or schedule may come from another version and be unknown here."""
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copytree(trained[0] / "steps", folder / "steps")
    text = (trained[0] / "config.json").read_text()
    text = text.replace('"name": "adam"', '"name": "sophia"').replace('"b1"', '"rho"')
    (folder / "config.json").write_text(text.replace('"warmup_cosine"', '"of_tomorrow"'))
    images = random_images(3, 32, 32, 3)
    got, want = (jaxcifar.load(place).predict(images).logits for place in (folder, trained[0]))
    np.testing.assert_array_equal(got, want)
    monkeypatch.delattr(experiment.Experiment, "optimizer")
    jaxcifar.load(folder)


@pytest.fixture
def photos(tmp_path):
    """A folder of two images and a text file, and the pixels that a net sees of the images."""
    folder = tmp_path / "photos"
    folder.mkdir()
    shown = random_images(2, 32, 32, 3)
    wide = np.zeros((32, 60, 3), np.uint8)
    wide[:, 14:46] = shown[1]
    Image.fromarray(shown[0]).save(folder / "a.png")
    Image.fromarray(wide).save(folder / "b.BMP")
    (folder / "notes.txt").write_text("not an image")
    return folder, shown


def predictions(run, *words):
    """Returns the rows that the command prints as CSV."""
    return list(csv.DictReader(io.StringIO(run(predict.main, [*words, "--csv"])[1])))


def test_the_command_predicts_for_files_what_the_net_predicts_for_their_pixels(
    trained, photos, run
):
    folder, shown = photos
    net = jaxcifar.load(trained[0])
    want = net.predict(shown).probabilities
    words = [f"--checkpoint={trained[0]}", folder]
    status, out, err = run(predict.main, [*words, "--json"])
    assert (status, err) == (0, "")
    result = json.loads(out)
    assert (result["step"], result["data"]) == (12, "synthetic")
    assert [i["image"] for i in result["images"]] == [f"{folder}/a.png", f"{folder}/b.BMP"]
    assert [i["square"] for i in result["images"]] == [[0, 0, 32, 32], [14, 0, 46, 32]]
    for image, row in zip(result["images"], want, strict=True):
        order = sorted(range(10), key=lambda i: -row[i])[:5]
        got = [(p["class"], p["probability"]) for p in image["predictions"]]
        assert [name for name, _ in got] == [net.class_names[i] for i in order]
        np.testing.assert_allclose([p for _, p in got], row[order], rtol=1e-5)
    status, out, _ = run(predict.main, [*words, "--csv"])
    rows = list(csv.DictReader(io.StringIO(out)))
    flat = [p | {"image": i["image"]} for i in result["images"] for p in i["predictions"]]
    assert [(r["image"], r["class"]) for r in rows] == [(p["image"], p["class"]) for p in flat]
    for row, p in zip(rows, flat, strict=True):
        assert float(row["probability"]) == pytest.approx(p["probability"], abs=1e-6)
    squares = [[int(row[k]) for k in ("left", "top", "right", "bottom")] for row in rows[::5]]
    assert squares == [image["square"] for image in result["images"]]
    assert [row["rank"] for row in rows] == list("12345") * 2
    status, out, _ = run(predict.main, words)
    assert "trained on synthetic data, step 12" in out
    assert "(60×32, the square 14 to 46 across and 0 to 32 down)" in out
    assert f"{flat[0]['probability']:.1%}  {flat[0]['class']}" in out


@pytest.mark.parametrize(("top", "shown"), [(1, 1), (3, 3), (99, 10)])
def test_top_is_the_number_of_classes_that_are_printed(trained, photos, run, top, shown):
    words = [f"--checkpoint={trained[0]}", photos[0] / "a.png"]
    all_ten = [row["class"] for row in predictions(run, *words, "--top=10")]
    assert [row["class"] for row in predictions(run, *words, f"--top={top}")] == all_ten[:shown]
    _, out, _ = run(predict.main, [*words, f"--top={top}", "--json"])
    assert len(json.loads(out)["images"][0]["predictions"]) == shown
    assert run(predict.main, [*words, f"--top={top}"])[1].count("%") == shown


def test_no_class_at_all_is_refused(run):
    status, _, err = run(predict.main, ["--checkpoint=x", "--top=0", "a.png"])
    assert (status, err) == (2, "error: --top=0; expected at least 1\n")


def test_explanations_are_drawn_for_each_image(trained, photos, run, tmp_path, monkeypatch):
    folder, shown = photos
    figures = []
    monkeypatch.setattr(png, "save", lambda fig, path: figures.append((fig, path)))
    words = [f"--checkpoint={trained[0]}", folder, "--json", f"--explain={tmp_path / 'why'}"]
    status, out, err = run(predict.main, words)
    assert (status, err) == (0, f"wrote 2 pictures to {tmp_path / 'why'}\n")
    best = [image["predictions"][0] for image in json.loads(out)["images"]]
    net = jaxcifar.load(trained[0])
    gates = net.predict(shown).gates
    classes = np.array([net.class_names.index(each["class"]) for each in best])
    maps = explain.grad_cam(net, shown, classes)
    assert [path.name for _, path in figures] == ["1_a.png", "2_b.png"]
    for i, (fig, _) in enumerate(figures):
        plain, under, table, bar = fig.axes
        assert (plain.get_title(), under.get_title()) == (
            "what the net sees",
            "support for the class (Grad-CAM)",
        )
        assert [text.get_text() for text in bar.get_yticklabels()] == ["none", "most"]
        np.testing.assert_array_equal(plain.images[0].get_array(), shown[i])
        np.testing.assert_allclose(under.images[1].get_array(), maps[i], rtol=1e-5)
        texts = [text.get_text() for text in table.texts]
        assert texts == [f"{x:.2f}" for name in ("block0", "block1") for x in gates[name][i]]
        want = f"{best[i]['class']}, {best[i]['probability']:.1%}"
        assert fig.get_suptitle() == want


def test_each_unreadable_file_is_one_line_and_the_others_are_classified(
    trained, photos, run, monkeypatch
):
    folder, _ = photos
    whole = (folder / "a.png").read_bytes()
    (folder / "c\n\x1b[31m.png").write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(whole)))
    words = [f"--checkpoint={trained[0]}", "--csv", folder / "none.png", folder, "-"]
    status, out, err = run(predict.main, [*words, folder / "notes.txt"])
    assert status == 1
    images = [row["image"] for row in csv.DictReader(io.StringIO(out)) if row["rank"] == "1"]
    assert images == [f"{folder}/a.png", f"{folder}/b.BMP", "stdin"]
    cut, none, text = sorted(err.splitlines())
    assert cut == rf"error: {folder}/c\n\x1b[31m.png: damaged: image file is truncated"
    assert none == f"error: {folder}/none.png: cannot be read: No such file or directory"
    assert text.startswith(f"error: {folder}/notes.txt: not an image; expected PNG, JPEG")
    status, out, err = run(predict.main, [words[0], folder / "none.png"])
    assert (status, out, err.count("\n")) == (1, "", 1)


def test_stdin_may_be_closed(trained, run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    status, out, err = run(predict.main, [f"--checkpoint={trained[0]}", "-"])
    assert (status, out, err) == (2, "", "error: -: stdin is closed\n")


def test_the_longest_names_can_be_explained(trained, photos, run, tmp_path):
    name = "猫" * 80 + ".png"  # 244 bytes; a name may have 255
    (photos[0] / "a.png").rename(tmp_path / name)
    words = [f"--checkpoint={trained[0]}", tmp_path / name, f"--explain={tmp_path / 'explained'}"]
    assert run(predict.main, words)[0] == 0
    (picture,) = (tmp_path / "explained").iterdir()
    assert picture.name.startswith("1_猫猫")


def test_a_file_name_is_verbatim_in_json_and_harmless_elsewhere(trained, photos, run, monkeypatch):
    folder, _ = photos
    names = ["=1+1\x1b[31m|.png", "+2\n.png"]
    for name in names:
        (folder / name).write_bytes((folder / "a.png").read_bytes())
    monkeypatch.chdir(folder)
    words = [f"--checkpoint={trained[0]}", *names]
    status, out, err = run(predict.main, [*words, "--json"])
    assert (status, err) == (0, "")
    assert [image["image"] for image in json.loads(out)["images"]] == names
    assert run(predict.main, words)[1].count("\x1b") == 0
    rows = predictions(run, *words)
    assert [row["image"] for row in rows[::5]] == [r"'=1+1\x1b[31m|.png", r"'+2\n.png"]
    assert float(rows[0]["probability"]) > 0


def test_a_terminal_with_colours_shows_what_the_net_sees(trained, photos, run, monkeypatch):
    folder, shown = photos
    words = [f"--checkpoint={trained[0]}", folder / "b.BMP"]
    monkeypatch.setenv("COLORTERM", "truecolor")
    assert "\033" not in run(predict.main, words)[1]  # the output is not a terminal
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    pair = re.compile(r"\033\[38;2;(\d+);(\d+);(\d+)m\033\[48;2;(\d+);(\d+);(\d+)m▀")
    drawn = [pair.findall(line) for line in run(predict.main, words)[1].splitlines()]
    halves = np.array([line for line in drawn if line], int).reshape(16, 32, 2, 3)
    np.testing.assert_array_equal(halves.swapaxes(1, 2).reshape(32, 32, 3), shown[1])
    monkeypatch.delenv("COLORTERM")
    assert "\033" not in run(predict.main, words)[1]


def test_a_class_that_the_data_do_not_have_is_named_by_its_number(trained):
    net = jaxcifar.load(trained[0])
    few = dataclasses.replace(net, class_names=net.class_names[:3])
    picture = image_files.CroppedImage("it", 32, 32, (0, 0, 32, 32), random_images(32, 32, 3))
    (ten,), (three,) = predict.rank_classes(net, [picture]), predict.rank_classes(few, [picture])
    names = [*net.class_names[:3], *(f"class {i}" for i in range(3, 10))]
    assert [name for name, _ in three] == [names[net.class_names.index(n)] for n, _ in ten]
