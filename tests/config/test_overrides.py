"""Config files and overrides; mistakes give one line, exit status 2 and no traceback."""

import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, TINY, config_of, tiny
from conftest import overrides as override
from ml_collections import ConfigDict

from jaxcifar import evaluate, reproduce, sweep, train
from jaxcifar.config import compare, fields, files, overrides, schema
from jaxcifar.errors import UserError
from jaxcifar.run import workdir
from jaxcifar.training import experiment

QUICKSTART = str(ROOT / "configs" / "quickstart.py")

# case -> words added to the quickstart's command line, parts of the error
MISTAKES = {
    "unknown_key": (
        ["--config.optimizer.learning_rat=1"],
        [
            "config.optimizer (adam) has no key learning_rat; did you mean"
            " config.optimizer.learning_rate? its keys: name, learning_rate, weight_decay, "
        ],
    ),
    "initials": (["--config.lr=1"], ["no key lr; did you mean config.optimizer.learning_rate?"]),
    "key_elsewhere": (["--config.model.weight_decay=1"], ["mean config.optimizer.weight_decay?"]),
    "unknown_top_key": (["--config.sed=1"], ["did you mean config.seed? its keys: seed, num_ep"]),
    "unknown_section": (["--config.optimiser.learning_rate=1"], ["mean config.optimizer?"]),
    "unknown_depth": (["--config.model.head.hidden=1"], ["config has no key model.head"]),
    "a_section": (
        ["--config.optimizer=sgd"],
        ["config.optimizer is a section", "--config.optimizer.name=VALUE", "learning_rate"],
    ),
    "unknown_argument": (["--wrkdir=x"], ["unknown argument --wrkdir=x;", "--help"]),
    "config_is_missing": (["--batch_size=64"], ["did you mean --config.batch_size?"]),
    "config_and_section_are_missing": (["--lr=1"], ["mean --config.optimizer.learning_rate?"]),
    "stray_word": (["fast"], ["argument fast;"]),
    "no_value": (["--config.batch_size"], ["--config.batch_size=VALUE"]),
    "no_name_here": (["--config.augment.name=strong"], ["config.augment has no key name"]),
    "not_a_number": (["--config.optimizer.learning_rate=fast"], ["learning_rate", "fast"]),
    "not_an_integer": (["--config.batch_size=1.5"], ["batch_size", "1.5"]),
    "not_a_bool": (["--config.augment.flip=maybe"], ["flip", "maybe"]),
    "unknown_model": (["--config.model.name=vgg"], ["model.name", "'vgg'", "resnet"]),
    "unknown_optimizer": (["--config.optimizer.name=lion"], ["optimizer.name", "sgd"]),
    "another_librarys_name": (
        ["--config.optimizer.name=adamw"],
        ["of sgd, adam, rmsprop, muon; adamw is adam with config.optimizer.decoupled_weight_decay"],
    ),
    "unknown_schedule": (["--config.schedule.name=linear"], ["schedule.name", "warmup_cosine"]),
    "unknown_loss": (["--config.loss.name=mse"], ["loss.name", "cross_entropy"]),
    "unknown_source": (["--config.data.source=mnist"], ["mnist", "cifar10", "synthetic"]),
    "unknown_type": (["--config.compute_dtype=float16"], ["float16", "bfloat16"]),
    "keys_of_another_model": (
        ["--config.model.name=resnet"],
        ["config.model (resnet) has no key widths", "depth, width, shortcut"],
    ),
    "batch_too_large": (["--config.batch_size=20000"], ["20000", "72"]),
    "rate_overflows": (["--config.optimizer.learning_rate=1e400"], ["learning_rate is inf"]),
    "long_rate": (["--config.optimizer.learning_rate=1" + "0" * 400], ["learning_rate is inf"]),
    "long_seed": (["--config.seed=0x1" + "0" * 9000], ["thousands of digits", "below 2147483648"]),
    "deep_value": (["--config.model.widths=" + "(" * 10**5], ["model.widths is '((("]),
    "no_key_of_a_dict": (["--config.model.widths={[]: 1}"], ["model.widths is '{[]: 1}'"]),
    "no_batch": (["--config.batch_size=0"], ["batch_size"]),
    "no_epochs": (["--config.num_epochs=0"], ["num_epochs"]),
    "too_few_classes": (["--config.model.num_classes=5"], ["num_classes", "5", "10"]),
    "negative_rate": (["--config.optimizer.learning_rate=-1.0"], ["learning_rate", "-1"]),
    "dropout_of_all": (["--config.model.branch_dropout=1.0"], ["branch_dropout"]),
    "seed_too_large": (["--config.seed=3000000000"], ["seed"]),
    "infinite_rate": (["--config.optimizer.learning_rate=1e999"], ["a finite number", "inf"]),
    "averages_nothing": (["--config.optimizer.ema_decay=1.5"], ["ema_decay"]),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_reported_in_one_line(case, run, small_data, tmp_path):
    words, parts = MISTAKES[case]
    folder = tmp_path / "run"
    command = [f"--config={QUICKSTART}", f"--workdir={folder}", *override(**TINY), *words]
    assert_one_line_error(run(train.main, command), parts)
    assert not folder.exists()  # found before anything is written


CONFIGS = {
    "a_model_without_values": (
        QUICKSTART,
        ["--config.model.name=resnet"],
        ["=resnet needs depth, width, shortcut: add --config.model.depth=VALUE --", "/resnet20.py"],
    ),
    "missing_file": ("nowhere.py", [], ["nowhere.py", "configs/"]),
    "missing_file_and_variant": ("nowhere.py:fast", [], ["nowhere.py"]),
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


@pytest.mark.parametrize("case", CONFIGS)
def test_a_wrong_config_is_reported_in_one_line(case, run, small_data, tmp_path):
    name, words, parts = CONFIGS[case]
    assert_one_line_error(
        run(train.main, [f"--config={name}", f"--workdir={tmp_path / 'run'}", *words]), parts
    )
    assert not (tmp_path / "run").exists()


def assert_one_line_error(ended, parts):
    status, out, err = ended
    assert status == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for part in parts:
        assert part in err


def test_the_workdir_of_another_config_is_refused_and_left_unchanged(run, small_data, tmp_path):
    command = [f"--config={QUICKSTART}", f"--workdir={tmp_path / 'run'}"]
    command += override(**TINY | {"num_epochs": 1})
    assert run(train.main, command)[0] == 0
    files = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    assert_one_line_error(
        run(train.main, [*command, "--config.seed=7"]), ["seed: 0 -> 7", "--workdir"]
    )
    assert {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()} == files


def test_the_command_exits_with_status_2():
    words = [sys.executable, "-m", "jaxcifar.train", "--config=configs/nowhere.py"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert_one_line_error((done.returncode, done.stdout, done.stderr), ["configs/nowhere.py"])


def test_overrides_take_the_type_of_their_key():
    words = ["--config.optimizer.learning_rate=1", "--config.model.widths=(1,2,3)"]
    words += ["--config.augment.flip=False", "--config.seed", "5"]
    config = overrides.load_config(QUICKSTART, words)
    assert config.optimizer.learning_rate == 1.0
    assert isinstance(config.optimizer.learning_rate, float)
    assert config.model.widths == (1, 2, 3)
    assert config.augment.flip is False
    assert config.seed == 5
    with pytest.raises(AttributeError):
        config.new_key = 1


def test_json_round_trip_has_no_differences():
    config = tiny()
    again = schema.from_json(schema.to_json(config))
    assert compare.differences(config, again) == []
    other = config_of("quickstart.py")
    assert "num_epochs: 2 -> 6" in compare.differences(config, other)
    assert compare.differences(config, tiny(seed=1)) == ["seed: 0 -> 1"]


@pytest.mark.parametrize(
    ("file", "name"),
    [("configs/simple_cnn.py:l1", "simple_cnn_l1"), ("a/b/quickstart.py", "quickstart")],
)
def test_the_name_of_a_config(file, name):
    assert files.config_name(file) == name


def test_a_folder_may_have_a_colon_in_its_name(tmp_path):
    assert files.split_variant("quickstart") == ("quickstart", "")
    file = tmp_path / "10:30" / "simple_cnn.py"
    file.parent.mkdir()
    shutil.copy(ROOT / "configs" / file.name, file)
    config = overrides.load_config(f"{file}:swish")
    assert compare.differences(config, config_of("simple_cnn.py:swish")) == []
    assert files.config_name(f"{file}:swish") == "simple_cnn_swish"
    assert files.split_variant(f"{file}:a/b:c") == (str(file), "a/b:c")
    assert files.split_variant(str(file.parent)) == (str(file.parent), "")
    assert files.split_variant("nowhere.py:fast") == ("nowhere.py", "fast")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte_order_mark"])
def test_the_config_of_a_run_is_a_config(tmp_path, mark):
    config, folder = tiny(), tmp_path / "lr0.01"
    folder.mkdir()
    (folder / "config.json").write_bytes(mark + schema.to_json(config).encode())
    assert compare.differences(workdir.load_config(folder), config) == []
    for name in (str(folder), str(folder / "config.json")):
        assert compare.differences(overrides.load_config(name), config) == []
        changed = overrides.load_config(name, ["--config.seed=5", "--config.model.widths=(4,8)"])
        assert compare.differences(config, changed)[-1] == "seed: 0 -> 5"
        assert files.config_name(name) == "lr0.01"
        with pytest.raises(UserError, match=r"config\.json has no variants"):
            overrides.load_config(f"{name}:fast")
    (folder / "config.json").write_text("[" * 10**6)
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        overrides.load_config(str(folder))


def test_a_new_name_drops_the_keys_that_its_choice_lacks(capsys):
    """And takes its other keys from the command line or the defaults."""
    words = ["--config.schedule.name=constant", "--config.optimizer.momentum=0.8"]
    words += ["--config.optimizer.name=sgd", "--config.optimizer.decoupled_weight_decay=0.1"]
    config = overrides.load_config(QUICKSTART, words)
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        "config.schedule.name=constant: dropped warmup_epochs",
        "config.optimizer.name=sgd: dropped b1, b2, eps; added nesterov=False",
    ]
    config = experiment.build_experiment(config).config
    assert config.schedule.to_dict() == {"name": "constant"}
    assert (config.optimizer.momentum, config.optimizer.nesterov) == (0.8, False)
    assert config.optimizer.learning_rate == 3e-3
    for name in ("adam", "rmsprop"):
        experiment.build_experiment(
            overrides.load_config(QUICKSTART, [f"--config.optimizer.name={name}"])
        )
    words = ["--config.model.name=mlp", "--config.model.hidden=()", "--config.model.dropout=0"]
    assert experiment.build_experiment(overrides.load_config(QUICKSTART, words)).model.hidden == ()


BAD_CONFIGS = {  # text of a config file -> what the error says after its name
    "def get_config(:": ":1: SyntaxError: ",
    "import ml_collections\n\nx = nothing": ":3: NameError: name 'nothing' is not defined",
    "import nothing_of_this_name": ":1: ModuleNotFoundError: No module named 'nothing_of_this_na",
    "x = 1": " has no function get_config",
    "def get_config():\n    pass": ": get_config returns NoneType, not an ml_collections.Config",
    "def get_config():\n    return {}": ": get_config returns dict, not",
    "def get_config():\n    return {}[1]": ":2: KeyError: 1",
    "def get_config():\n    raise ValueError('two\\nlines')": ":2: two lines",
    "def get_config():\n    raise ValueError": ":2: ValueError",
    "def f():\n    1 / 0\n\ndef get_config():\n    f()": ":2: ZeroDivisionError: division by",
    "def get_config():\n    import json\n    json.loads('{')": ":3: Expecting property name",
}


@pytest.mark.parametrize("text", BAD_CONFIGS)
def test_an_error_in_a_config_file_is_reported_with_its_line(text, run, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(text)
    assert_one_line_error(
        run(train.main, [f"--config={file}"]), [f"error: {file}{BAD_CONFIGS[text]}"]
    )
    assert list(tmp_path.iterdir()) == [file]


def test_debug_shows_the_traceback_of_an_error_in_a_config_file(run, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def get_config():\n    return {}['x']")
    status, _, err = run(train.main, [f"--config={file}", "--debug"])
    lines = err.splitlines()
    assert status == 2
    assert lines[-1] == f"error: {file}:2: KeyError: 'x'"
    assert lines[0] == "Traceback (most recent call last):"
    assert "    return {}['x']" in lines


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (train, ["--config=nowhere.py"]),
        (evaluate, ["--checkpoint=nowhere"]),
        (reproduce, ["--claims=nothing"]),
        (sweep, ["--config=nowhere.py", "--sweep=batch_size=8,16", "--out=out"]),
    ],
)
def test_every_command_has_the_option_debug(command, words, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_one_line_error(run(command.main, words), ["no"])
    status, _, err = run(command.main, [*words, "--debug"])
    assert status == 2
    assert "jaxcifar.errors.UserError: " in err


def test_a_variant_of_a_config_without_variants_is_refused(run, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def get_config():\n    pass")
    assert_one_line_error(
        run(train.main, [f"--config={file}:fast"]), [f"error: {file}: ", "argument"]
    )


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("batch_size", "128", "config.batch_size is '128'; expected an integer, at least 1"),
        ("batch_size", 128.0, "an integer"),
        ("batch_size", True, "an integer"),
        ("seed", -1, "at least 0"),
        ("data", "synthetic", "config.data is 'synthetic'; expected a section of keys"),
        ("compute_dtype", 32, "a string"),
        ("augment.flip", 1, "True or False"),
        ("model.gate", 0, "linear, softmax, none"),
        ("model.widths", "64", "a tuple"),
        ("model.widths", 64, r"a tuple, such as \(64, 128\)"),
        ("loss.class_weights", 2.0, "expected a tuple of numbers"),
        ("optimizer.freeze", 1, r"expected a tuple, such as \('conv0', 'head'\)"),
        ("model.num_blocks", (1, "1", 1), r"num_blocks\[1\] is '1'; expected an integer"),
        ("model.num_blocks", (10**9, 1, 1), r"num_blocks is \(1000000000, .* a sum from 1 to 1202"),
        ("model.name", 1, "one of adaptive, resnet"),
        ("optimizer.learning_rate", "1e-3", "a finite number"),
        ("optimizer.learning_rate", None, "a finite number"),
        ("optimizer.learning_rate", 1e39, "a finite number, .*of at most 3.4028234e.38"),
        ("optimizer.learning_rate", 10**400, "a finite number"),
        ("num_epochs", 10**12, "an integer, at least 1, at most 1000000"),
        ("schedule.name", ["constant"], "one of constant"),
        ("data.validation", 0.5, "an integer"),
        ("data.dir", 0, "a string"),
    ],
)
def test_a_value_of_the_wrong_type_in_a_config_file_is_refused(key, value, expected):
    config = config_of("quickstart.py").to_dict()
    section, _, leaf = key.rpartition(".")
    (config[section] if section else config)[leaf] = value
    with pytest.raises(UserError, match=expected):
        experiment.build_experiment(schema.check_top_level(ConfigDict(config)))


def thing(*, size: int, colour: str = "red", given: fields.Injected[int]):
    return size, colour, given


THINGS = {"thing": thing}


def test_a_section_is_checked_against_the_signature_of_its_choice(monkeypatch):
    whole = config_of("quickstart.py").to_dict()
    monkeypatch.setitem(schema.SECTIONS, "loss", schema.Section(table=f"{__name__}:THINGS"))

    def complete(keys):
        return schema.complete_config(ConfigDict(whole | {"loss": keys})).loss.to_dict()

    sized = {"name": "thing", "size": 1}
    assert complete(sized) == sized | {"colour": "red"}
    assert fields.build_choice(THINGS, sized, (), given=2) == (1, "red", 2)
    for keys, message in (
        ({"name": "thing"}, "config.loss \\(thing\\) lacks the key size"),
        (sized | {"sise": 2}, "no key sise; did you mean config.loss.size\\? its keys: name, size"),
        (sized | {"given": 2}, "no key given; its keys: name, size, colour"),
        (sized | {"name": "thong"}, "config.loss.name is 'thong'; expected a string, one of thing"),
        (sized | {"colour": 1}, "config.loss.colour is 1; expected a string"),
        ({"size": 1}, "config.loss lacks the key name; choices: thing"),
    ):
        with pytest.raises(UserError, match=message):
            complete(keys)
