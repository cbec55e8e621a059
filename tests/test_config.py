"""Reading a page, and what a command says of a mistake: one line, exit status 2, no traceback."""

import subprocess
import sys

import pytest
from conftest import ROOT, TINY, overrides, page, tiny

from jaxcifar import config as configs
from jaxcifar import schema, train
from jaxcifar.errors import UserError

QUICKSTART = str(ROOT / "configs" / "quickstart.py")

# changes to the quickstart's command line, words of the message
MISTAKES = {
    "unknown_key": (["--config.optimizer.learnig_rate=1"], ["learnig_rate", "learning_rate"]),
    "unknown_section": (["--config.optimiser.learning_rate=1"], ["optimiser"]),
    "unknown_argument": (["--wrkdir=x"], ["wrkdir"]),
    "stray_word": (["fast"], ["'fast'"]),
    "not_a_number": (["--config.optimizer.learning_rate=fast"], ["learning_rate", "fast"]),
    "not_an_integer": (["--config.batch_size=1.5"], ["batch_size", "1.5"]),
    "not_a_bool": (["--config.augment.flip=maybe"], ["flip", "maybe"]),
    "unknown_model": (["--config.model.name=vgg"], ["model.name", "'vgg'", "resnet"]),
    "unknown_optimizer": (["--config.optimizer.name=lion"], ["optimizer.name", "sgd"]),
    "unknown_schedule": (["--config.schedule.name=linear"], ["schedule.name", "warmup_cosine"]),
    "unknown_loss": (["--config.loss.name=mse"], ["loss.name", "cross_entropy"]),
    "unknown_source": (["--config.data.source=mnist"], ["mnist", "cifar10", "synthetic"]),
    "unknown_type": (["--config.compute_dtype=float16"], ["float16", "bfloat16"]),
    "keys_of_another_model": (["--config.model.name=resnet"], ["resnet", "depth"]),
    "batch_too_large": (["--config.batch_size=20000"], ["20000", "72"]),
    "no_batch": (["--config.batch_size=0"], ["batch_size"]),
    "no_epochs": (["--config.num_epochs=0"], ["num_epochs"]),
    "too_few_classes": (["--config.model.num_classes=5"], ["num_classes", "5", "10"]),
    "negative_rate": (["--config.optimizer.learning_rate=-1.0"], ["learning_rate", "-1"]),
    "dropout_of_all": (["--config.model.branch_dropout=1.0"], ["branch_dropout"]),
    "seed_too_large": (["--config.seed=3000000000"], ["seed"]),
    "averages_nothing": (["--config.optimizer.ema_decay=1.5"], ["ema_decay"]),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_told_in_one_line(case, run, small_data, tmp_path):
    words, parts = MISTAKES[case]
    folder = tmp_path / "run"
    command = [f"--config={QUICKSTART}", f"--workdir={folder}", *overrides(**TINY), *words]
    told(run(train.main, command), parts)
    assert not folder.exists()  # found before anything is written


PAGES = {
    "missing_page": ("nowhere.py", [], ["nowhere.py", "configs/"]),
    "missing_page_and_variant": ("nowhere.py:fast", [], ["nowhere.py"]),
    "a_folder": (str(ROOT / "configs"), [], ["configs"]),
    "unknown_variant": (f"{ROOT}/configs/simple_cnn.py:fast", [], ["'fast'", "swish"]),
    "no_variants": (f"{QUICKSTART}:fast", [], ["'fast'", "quickstart"]),
    "wrong_depth": (
        f"{ROOT}/configs/resnet20.py",
        ["--config.model.depth=21", "--config.data.source=synthetic"],
        ["21", "6n+2", "20, 32"],
    ),
    "warm_up_keys_on_a_constant": (
        f"{ROOT}/configs/simple_cnn.py",
        ["--config.schedule.warmup_epochs=1"],
        ["warmup_epochs"],
    ),
}


@pytest.mark.parametrize("case", PAGES)
def test_a_wrong_page_is_told_in_one_line(case, run, small_data, tmp_path):
    name, words, parts = PAGES[case]
    told(run(train.main, [f"--config={name}", f"--workdir={tmp_path / 'run'}", *words]), parts)
    assert not (tmp_path / "run").exists()


def told(ended, parts):
    status, out, err = ended
    assert status == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for part in parts:
        assert part in err


def test_another_configs_workdir_is_told_in_one_line_and_unchanged(run, small_data, tmp_path):
    command = [f"--config={QUICKSTART}", f"--workdir={tmp_path / 'run'}"]
    command += overrides(**TINY | {"num_epochs": 1})
    assert run(train.main, command)[0] == 0
    files = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    told(run(train.main, [*command, "--config.seed=7"]), ["seed: 0 -> 7", "--workdir"])
    assert {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()} == files


def test_the_real_command_ends_with_status_2():
    words = [sys.executable, "-m", "jaxcifar.train", "--config=configs/nowhere.py"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    told((done.returncode, done.stdout, done.stderr), ["configs/nowhere.py"])


def test_overrides_take_the_type_of_the_page():
    words = ["--config.optimizer.learning_rate=1", "--config.model.widths=(1,2,3)"]
    config = configs.load(QUICKSTART, [*words, "--config.augment.flip=False", "--config.seed=5"])
    assert config.optimizer.learning_rate == 1.0
    assert isinstance(config.optimizer.learning_rate, float)
    assert config.model.widths == (1, 2, 3)
    assert config.augment.flip is False
    assert config.seed == 5
    with pytest.raises(AttributeError):
        config.new_key = 1


def test_json_round_trip_has_no_differences():
    config = tiny()
    again = configs.from_json(configs.to_json(config))
    assert schema.differences(config, again) == []
    other = page("quickstart.py")
    assert "num_epochs: 2 -> 6" in schema.differences(config, other)
    assert schema.differences(config, tiny(seed=1)) == ["seed: 0 -> 1"]


@pytest.mark.parametrize(
    ("page", "name"),
    [("configs/simple_cnn.py:l1", "simple_cnn_l1"), ("a/b/quickstart.py", "quickstart")],
)
def test_the_name_of_a_page(page, name):
    assert configs.name(page) == name


def test_build_checks_keys_against_the_signature():
    def thing(*, size, colour="red", given: configs.Given[int]):
        return size, colour, given

    choices = {"thing": thing}
    assert configs.build(choices, "x", {"name": "thing", "size": [1]}, given=2) == ((1,), "red", 2)
    for keys, message in (
        ({"name": "thing"}, "lacks the key 'size'"),
        ({"name": "thing", "size": 1, "sise": 2}, "no key 'sise'; keys: size, colour"),
        ({"name": "thing", "size": 1, "given": 2}, "no key 'given'"),
        ({"name": "thong", "size": 1}, "x.name is 'thong'; choices: thing"),
        ({"size": 1}, "name"),
    ):
        with pytest.raises(UserError, match=message):
            configs.build(choices, "x", keys, given=2)
