"""Reading the model of a run that trains on: a step that is deleted meanwhile is not damaged."""

import shutil

import chex
import pytest
from saving import at, save, start

from jaxcifar.errors import UserError
from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.run.saved_model import read_model


@pytest.fixture(scope="module")
def like():
    return start()


def model_of(carry):
    return carry.to_items()["model"]


def before_reading(monkeypatch, act):
    """Calls `act` with the number of the try, from 1, between choosing a step and reading it."""
    restore, calls = Checkpoints.restore_model, []

    def restore_later(self, *words):
        calls.append(1)
        act(len(calls))
        return restore(self, *words)

    monkeypatch.setattr(Checkpoints, "restore_model", restore_later)


@pytest.mark.parametrize("name", ["latest", "best"])
def test_a_step_that_the_run_deletes_meanwhile_is_replaced(name, tmp_path, like, monkeypatch):
    save(tmp_path, like, {4: 0.1})

    def train_on(number):
        if number < 4:
            steps = [10 * number + more for more in range(3)]  # as many as delete the others
            save(tmp_path, like, {step: step / 100 for step in steps})

    before_reading(monkeypatch, train_on)
    saved = read_model(tmp_path, name, model_of(like))
    assert saved.step == 32
    assert saved.meta["note"] == "of step 32"
    chex.assert_trees_all_equal(saved.model, model_of(at(like, 32)))
    assert not (tmp_path / "damaged").exists()


def test_a_number_that_is_deleted_meanwhile_is_named(tmp_path, like, monkeypatch):
    save(tmp_path, like, {4: 0.1})
    before_reading(
        monkeypatch, lambda _: save(tmp_path, like, {step: step / 100 for step in (10, 11, 12)})
    )
    with pytest.raises(UserError, match="step 4 is not saved; expected best, latest or one of 11"):
        read_model(tmp_path, "4", model_of(like))


def test_a_half_deleted_step_is_replaced(tmp_path, like, monkeypatch):
    """Deleting a folder takes a moment, in which some of its files are gone."""
    save(tmp_path, like, {4: 0.1, 8: 0.2})

    def delete_half(number):
        if number == 1:
            save(tmp_path, like, {12: 0.3})
            shutil.rmtree(tmp_path / "steps" / "8" / "model")

    before_reading(monkeypatch, delete_half)
    assert read_model(tmp_path, "latest", model_of(like)).step == 12


def test_a_damaged_step_is_reported_and_stays_in_place(tmp_path, like):
    save(tmp_path, like, {4: 0.1})
    shutil.rmtree(tmp_path / "steps" / "4" / "model")
    with pytest.raises(UserError, match="step 4 is damaged"):
        read_model(tmp_path, "latest", model_of(like))
    assert (tmp_path / "steps" / "4").is_dir()
    assert not (tmp_path / "damaged").exists()
