import json

import pytest

from dygro_ros.errors import DataError, UserError
from sim2real.evaluation_summary import Entry, summarise
from sim2real.method_table import merge, read_records, read_results, summary, table


def results(method, seed, wins):
    def entry(role, name):
        return Entry(role, name, f"{name}{seed}", "chunk", seed, 5, "abc", 1)

    episodes = [
        {
            "role": role, "task": task, "seed": number, "success": number < won, "steps": 9,
            "top_experts": [], "mean_gates": [], "inference_s": 0.1, "duration_s": 1.0,
        }
        for role, won in (("base", 4), ("policy", wins))
        for task in ("lift", "pour")
        for number in range(10)
    ]  # fmt: skip
    return summarise([entry("base", "base"), entry("policy", method)], episodes)


def cells(markdown):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown.splitlines()[2:]]


def test_a_row_a_run_and_the_base_once():
    rows = cells(table([results("dygro", 1, 8), results("ppo", 0, 5), results("dygro", 0, 7)]))
    assert [row[:2] for row in rows] == [
        ["base", "0"], ["ppo", "0"], ["dygro", "0"], ["base", "1"], ["dygro", "1"],
    ]  # fmt: skip
    assert rows[0][2:4] == ["40", "40"] and rows[2][2:4] == ["70", "70"]
    assert rows[2][5].startswith("+30.0")


def test_the_summary_averages_over_seeds_and_has_no_interval_of_one():
    rows = cells(summary([results("dygro", 1, 8), results("ppo", 0, 5), results("dygro", 0, 7)]))
    assert [row[:2] for row in rows] == [["base", "2"], ["ppo", "1"], ["dygro", "2"]]
    assert rows[2][2:5] == ["75", "75", "75.0"]
    assert rows[0][-1] == "" and rows[1][-1] == "+10.0"
    # Two gains of 30 and 40: Student's t with one degree of freedom.
    assert rows[2][-1] == "+35.0 (-29, 99)"


def test_new_records_replace_those_of_their_run():
    old = merge([], results("dygro", 0, 7)["records"] + results("ppo", 0, 5)["records"])
    new = merge(old, results("dygro", 0, 9)["records"])
    assert [(r["method"], r["task"], r["successes"]) for r in new] == [
        ("base", "lift", 4), ("base", "pour", 4), ("ppo", "lift", 5), ("ppo", "pour", 5),
        ("dygro", "lift", 9), ("dygro", "pour", 9),
    ]  # fmt: skip


def test_a_folder_without_an_evaluation_is_named(tmp_path):
    with pytest.raises(UserError, match=r"holds no evaluation: expected evaluation/results\.json"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(DataError, match=r"results\.json does not hold an evaluation's results"):
        read_results(tmp_path)


def test_a_run_folder_and_an_evaluation_folder_are_both_read(tmp_path):
    found = results("sft", 0, 5)
    (tmp_path / "evaluation").mkdir()
    for folder in (tmp_path, tmp_path / "evaluation"):
        (folder / "results.json").write_text(json.dumps(found))
        assert read_results(folder)["records"] == found["records"]


def test_a_file_of_other_things_is_refused(tmp_path):
    path = tmp_path / "nano.json"
    assert read_records(path) == []
    path.write_text('[{"method": "dygro"}]')
    with pytest.raises(DataError, match="not a list of result records"):
        read_records(path)
