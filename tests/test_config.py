"""One YAML file is one run: what loads, what is refused, and what makes two runs the same."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from reweight.config import BenchmarkConfig, ConditionsConfig, RunConfig, load_config, read_config
from reweight.core.digest import digest
from reweight.core.errors import ConfigError
from reweight.core.job_config import JobConfig

CONF = Path(__file__).parents[1] / "conf"
CONFIGS = sorted(CONF.glob("**/*.yaml"))
DEMO = str(CONF / "demo.yaml")
PUBLISHED = str(CONF / "benchmark" / "published.yaml")

SMALLEST: dict[str, Any] = {
    "run_id": "small",
    "root": "out",
    "cleaning": {
        "sources": {"log": {"path": "/raw", "format": "csv"}},
        "columns": {"event_time": "try_to_timestamp(ts)"},
    },
    "sampling": {"label": {"value": "bought"}},
    "features": {"numeric": {"price": "price"}},
    "importance": [],
}


def written(folder: Path, values: dict[str, Any]) -> str:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def any_config(path: Path) -> JobConfig:
    own = {"benchmark": BenchmarkConfig, "conditions": ConditionsConfig}
    sections = yaml.safe_load(path.read_text())
    kind = next((kind for name, kind in own.items() if name in sections), RunConfig)
    return read_config(kind, str(path), ["data_dir=/data"])


def refusal(path: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value)


@pytest.mark.parametrize("path", CONFIGS, ids=[str(p.relative_to(CONF)) for p in CONFIGS])
def test_every_config_is_a_run_and_says_its_command(path: Path) -> None:
    config = any_config(path)
    assert config.importance
    assert f"conf/{path.relative_to(CONF)}" in path.read_text().partition("\nrun_id:")[0]


def test_every_config_has_a_run_id_of_its_own() -> None:
    ids = [any_config(path).run_id for path in CONFIGS]
    assert len(ids) > 1
    assert len(set(ids)) == len(ids)


def test_real_and_simulated_logs_have_no_root_in_common() -> None:
    logs = [c for c in map(any_config, CONFIGS) if getattr(c, "cleaning", None)]
    simulated = {c.root for c in logs if c.simulation}
    # Columns of one name, such as item_id, have other types: a table of events cannot hold both.
    assert not simulated & {c.root for c in logs if not c.simulation}


@pytest.mark.parametrize(
    "methods", [[], [{"method": "random"}], [{"method": "random"}, {"method": "uniform"}]]
)
def test_uniform_is_always_there_once(tmp_path: Path, methods: list[dict[str, str]]) -> None:
    config = load_config(written(tmp_path, SMALLEST | {"importance": methods}))
    names = [method.name for method in config.importance]
    assert sorted(names) == sorted({"uniform", *[m["method"] for m in methods]})


def test_two_methods_of_one_name_are_refused() -> None:
    text = refusal(DEMO, "importance=[{method: random}, {method: random}]")
    assert "['random']" in text
    assert "set `name`" in text
    config = load_config(DEMO, ["importance=[{method: random}, {method: random, name: again}]"])
    assert [m.name for m in config.importance if m.method == "random"] == ["random", "again"]


PARTS = (
    "{method: random}, {method: r_ce}, {method: el2n}, {method: tracin}, "
    "{method: self_confidence, name: margin, margin: true}, {method: ipw_position}, "
    "{method: pu_prior, prior: 0.5}, {method: self_training}, "
    "{method: delayed_feedback, form: fnw}, {method: product, name: both, of: [random, r_ce]}"
)


def test_a_product_of_methods_of_the_run_is_taken() -> None:
    config = load_config(DEMO, [f"importance=[{PARTS}]"])
    assert [m.name for m in config.importance if m.combines()] == ["both"]
    # Those that a run brings itself are parts like others.
    config = load_config(DEMO, ["importance=[{method: random}, " + product("random, uniform")])
    assert "product" in [m.name for m in config.importance]


def test_a_product_takes_what_can_say_labels_where_it_says_none() -> None:
    parts = "{method: ipw_position, estimator: ips}, {method: delayed_feedback}"
    config = load_config(
        DEMO, [f"importance=[{parts}, " + product("ipw_position, delayed_feedback")]
    )
    assert "product" in [m.name for m in config.importance]


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ("random, aum", "'aum', which is not in the run"),
        ("random, product", "'product', which is itself a combination"),
        ("random, both", "'both', which is itself a combination"),
        ("random, el2n", "'el2n', which is high for hard rows"),
        ("random, tracin", "'tracin', which has negative importance"),
        ("random, margin", "'margin', which has negative importance"),
        ("random, ipw_position", "'ipw_position', which sets soft labels"),
        ("random, pu_prior", "'pu_prior', which sets soft labels"),
        ("random, self_training", "'self_training', which sets soft labels"),
        ("random, delayed_feedback", "'delayed_feedback', which sets soft labels"),
    ],
)
def test_a_product_of_what_cannot_be_multiplied_is_refused(of: str, said: str) -> None:
    methods = f"importance=[{PARTS}, {product(of)}"
    assert f"'product' cannot combine {said}" in refusal(DEMO, methods)
    with pytest.raises(ConfigError, match=said):
        read_config(BenchmarkConfig, PUBLISHED, ["data_dir=/data", methods])


def test_a_key_with_dots_gets_the_line_that_a_file_needs(tmp_path: Path) -> None:
    text = refusal(written(tmp_path, SMALLEST | {"fitting": {"warm.start": 1}, "a.b": 1}))
    assert "write fitting: {warm: {start: ...}};" in text
    assert "write a: {b: ...}; a key with dots is for the command line, a.b=..." in text


def product(of: str) -> str:
    return f"{{method: product, of: [{of}]}}]"


def test_unknown_keys_wrong_types_and_missing_keys_are_named_together(tmp_path: Path) -> None:
    values = {k: v for k, v in SMALLEST.items() if k != "sampling"}
    values |= {"clening": {}, "fitting": {"ranks": "many"}, "splits": {"by": "moon"}}
    text = refusal(written(tmp_path, values))
    assert "4 error(s)" in text
    for line in ("sampling: missing", "clening: unknown key", "fitting.ranks: ", "'many'"):
        assert line in text
    assert "splits.by: " in text
    assert "'moon'" in text


def test_the_method_that_is_wrong_is_named() -> None:
    text = refusal(DEMO, "importance=[{method: rnadom}]")
    assert "'rnadom'" in text
    assert "'random'" in text


@pytest.mark.parametrize("path", ["/nowhere/run.yaml", str(CONF)], ids=["nothing", "a folder"])
def test_a_file_that_is_not_there_is_named(path: str) -> None:
    text = refusal(path)
    assert path in text
    assert "conf/" in text


@pytest.mark.parametrize(
    "text",
    [
        b"run_id: [small",
        b"run_id: one\nrun_id: two",
        b"root: ${elsewhere}",
        b"data_dir: ???\nroot: ${data_dir}/out",
        b"\xff\xfe\x00",
    ],
    ids=["open bracket", "a key twice", "unknown reference", "missing value", "no text"],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(text)
    assert f"{path} could not be read" in refusal(str(path))


@pytest.mark.parametrize("text", ["", "- 1", "only words", "42"])
def test_a_file_of_another_shape_is_no_run(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    said = refusal(str(path))
    assert f"{path} is not a valid config" in said or f"{path} could not be read" in said


def test_only_label_events_can_arrive_after_a_cut() -> None:
    opened = ("splits={by: time, open_windows: train}", "sampling.label.window=null")
    for overrides in (opened, opened[:1]):
        assert load_config(DEMO, overrides).splits.open_windows == "train"
    row = "sampling.label={where: null, keys: [], window: null, value: price > 9}"
    assert "sampling.label.where" in refusal(DEMO, opened[0], row)
    assert "by: time" in refusal(DEMO, "splits={by: group, open_windows: train}", *opened[1:])


def test_only_labels_that_are_values_can_be_null() -> None:
    assert "sampling.label.value" in refusal(DEMO, "splits.unlabelled=train")


@pytest.mark.parametrize("kind", [RunConfig, BenchmarkConfig, ConditionsConfig])
def test_the_example_that_is_named_is_of_the_kind_that_is_wanted(kind: type[JobConfig]) -> None:
    example = str(CONF.parent / kind.example)
    assert type(read_config(kind, example, ["data_dir=/data"])) is kind
    with pytest.raises(ConfigError, match=f"as in `{re.escape(kind.example)}`"):
        read_config(kind, example, ["data_dir=/data", "unknown=1"])


@pytest.mark.parametrize("wrong", ["seeds=0", "unknown=1"])
def test_a_wrong_key_of_the_worlds_is_named_with_its_section(wrong: str) -> None:
    example = str(CONF.parent / ConditionsConfig.example)
    with pytest.raises(ConfigError, match=rf"\n    conditions\.{wrong.partition('=')[0]}"):
        read_config(ConditionsConfig, example, [f"conditions.{wrong}"])


def test_a_value_that_is_still_to_be_set_is_asked_for() -> None:
    assert "root" in refusal(DEMO, "root=???")


def test_an_override_may_point_to_another_value() -> None:
    config = load_config(DEMO, ("simulation.path=${root}/elsewhere", "root=/there"))
    assert config.simulation is not None
    assert config.simulation.path == "/there/elsewhere"


@pytest.mark.parametrize("name", ["20260131", "2026_01_31", "0101", "0x1f", "1e5", "on", "'0101'"])
@pytest.mark.parametrize("key", ["run_id", "model_run_id"])
def test_a_run_that_is_named_on_the_command_line_has_just_that_name(key: str, name: str) -> None:
    assert getattr(load_config(DEMO, (f"{key}={name}",)), key) == name.strip("'")


def test_an_override_may_take_the_models_of_no_run() -> None:
    assert load_config(DEMO, ("model_run_id=a", "model_run_id=null")).model_run_id is None


@pytest.mark.parametrize("name", ["20260131", "2026_01_31", "0101", "yes", "'0101'"])
def test_a_run_that_is_named_in_a_file_has_just_that_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"base: {DEMO}\nrun_id: {name}\n")
    assert load_config(str(path)).run_id == name.strip("'")


@pytest.mark.parametrize("root", ["hdfs://nn/x", "s3a://bucket/x", "dbfs:/x", "file:/x", "abfss:x"])
def test_a_root_that_is_no_path_of_a_file_system_is_refused(root: str) -> None:
    assert "root: expected a path that all machines see" in refusal(DEMO, f"root={root}")


def test_home_and_variables_in_paths_are_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("LOGS", "/logs")
    cleaning = SMALLEST["cleaning"] | {"sources": {"log": {"path": "$LOGS/*.csv", "format": "csv"}}}
    path = written(tmp_path, SMALLEST | {"cleaning": cleaning, "root": "~/out"})
    config = load_config(path, ["simulation.path=${root}/raw"])
    assert config.root == "/home/me/out"
    assert config.cleaning.sources["log"].path == "/logs/*.csv"
    assert config.simulation is not None
    assert config.simulation.path == "/home/me/out/raw"
    assert "the environment variable NOWHERE is not set" in refusal(path, "root=$NOWHERE/out")


@pytest.mark.parametrize("root", ["out", "/Volumes/main/a", "../a:b/c", "C:/runs", "/a:b"])
def test_a_root_may_be_any_path(root: str) -> None:
    assert load_config(DEMO, (f"root={root}",)).root == root


def test_ranks_that_cannot_share_the_shards_are_refused_before_any_work() -> None:
    assert "fitting: the ranks cannot share" in refusal(DEMO, "fitting.ranks=3")
    assert load_config(DEMO, ("fitting.ranks=3", "fitting.shards=6")).fitting.ranks == 3


def test_methods_keep_the_numbers_that_overrides_know_them_by() -> None:
    methods = "importance=[{method: random}, {method: importance_mlp}]"
    config = load_config(DEMO, (methods, "importance.1.training.epochs=3"))
    assert [m.name for m in config.importance] == ["random", "importance_mlp_robust", "uniform"]
    assert config.importance[1].training.epochs == 3
    assert "importance.1" in refusal(DEMO, methods, "importance.1.training.epochs=x")


def test_a_real_log_without_its_folder_says_what_to_set() -> None:
    real = [path for path in CONFIGS if "data_dir: ???" in path.read_text()]
    assert real
    for path in real:
        text = refusal(str(path))
        assert "data_dir" in text
        assert "data_dir=/data" in text


def test_overrides_reach_every_depth_in_the_notation_of_yaml() -> None:
    config = load_config(
        DEMO,
        [
            "run_id=today",
            "fitting.ranks=4",
            "importance.1.training.epochs=5",
            "features.categorical.item.buckets=32",
            "features.categorical.user={value: user_id, buckets: 64}",
            "splits.shares=[0.5, 0.25, 0.25]",
            "cleaning.not_before=null",
            "sampling.anchor=event_type = 'click'",
            "sampling.label.window=12 hours",
        ],
    )
    assert config.run_id == "today"
    assert config.fitting.ranks == 4
    (epochs,) = [
        m.training.epochs for m in config.importance if m.name == "importance_mlp_reference"
    ]  # type: ignore[union-attr]
    assert epochs == 5
    assert {k: v.buckets for k, v in config.features.categorical.items()} == {
        "item": 32,
        "user": 64,
    }
    assert config.splits.shares == (0.5, 0.25, 0.25)
    assert config.cleaning.not_before is None
    assert config.sampling.anchor == "event_type = 'click'"
    assert config.sampling.label.window == 43_200


def test_what_refers_to_an_overridden_value_follows_it() -> None:
    config = load_config(DEMO, ["root=/shared/demo"])
    assert config.simulation is not None
    assert config.simulation.path == "/shared/demo/raw"
    assert config.cleaning.sources["log"].path == "/shared/demo/raw"


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("run_id", "no '='"),
        ("fitting.ranks=[1", "flow sequence"),
        ("importance.9.training.epochs=5", "importance[9]"),
        ("importance.9.training.epochs=5", "an item of a list by its number, from 0 on"),
        ("importance.first.epochs=5", "'first'"),
        ("sampling.keep=[position]", "write a section as {key: value}"),
        ("seed.x=1", "seed: "),
        ("fitting.rank=1", "fitting.rank: unknown key (got: '1'); did you mean ranks?"),
        ("ranking.regParam=1", "ranking.regParam: unknown key"),
        ("ranking.c=1", "ranking.c: unknown key (got: '1'); did you mean C?"),
    ],
)
def test_an_override_that_fits_nothing_is_refused(override: str, named: str) -> None:
    assert named in refusal(DEMO, override)


@pytest.mark.parametrize("run_id", ["a'b", "a/b", "..", "a b", "", "x" * 65, "' OR '1'='1"])
@pytest.mark.parametrize("key", ["run_id", "model_run_id"])
def test_a_run_id_that_could_reach_sql_or_a_path_is_refused(
    tmp_path: Path, key: str, run_id: str
) -> None:
    text = refusal(written(tmp_path, SMALLEST | {key: run_id}))
    assert f"{key}: String should match pattern" in text


@pytest.mark.parametrize("schema", ["a.b.c", "a b", "a`b", "", "a.", ".b", "a;b", "a'b", "a..b"])
def test_a_schema_that_could_reach_sql_otherwise_is_refused(tmp_path: Path, schema: str) -> None:
    text = refusal(written(tmp_path, SMALLEST | {"catalog": schema}))
    assert "catalog: String should match pattern" in text


@pytest.mark.parametrize("schema", ["reweight", "main.reweight", "my-catalog.day_1"])
def test_a_schema_has_one_part_or_two(tmp_path: Path, schema: str) -> None:
    assert load_config(written(tmp_path, SMALLEST | {"catalog": schema})).catalog == schema


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{}", "`path` and `format` of files, or the name of a `table`"),
        ("{path: /raw}", "`path` and `format` of files"),
        ("{path: /raw, format: csv, table: main.shop.events}", "without path, format and schema"),
        ("{table: main.shop.events, schema: id bigint}", "without path, format and schema"),
        ("{table: main.shop.events, options: {sep: ';'}}", "got a table source"),
        ("{table: a.b.c.d}", "should match pattern"),
        ("{table: 'events WHERE true'}", "should match pattern"),
    ],
)
def test_a_source_is_files_or_a_table(tmp_path: Path, source: str, said: str) -> None:
    cleaning = SMALLEST["cleaning"] | {"sources": {"log": yaml.safe_load(source)}}
    assert said in refusal(written(tmp_path, SMALLEST | {"cleaning": cleaning}))


def test_a_table_is_a_source_without_more(tmp_path: Path) -> None:
    cleaning = SMALLEST["cleaning"] | {"sources": {"log": {"table": "main.shop.events"}}}
    config = load_config(written(tmp_path, SMALLEST | {"cleaning": cleaning}))
    assert config.cleaning.sources["log"].place == "`main`.`shop`.`events`"


def test_a_config_does_not_change(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, SMALLEST))
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 1  # type: ignore[misc]


SAME = (
    "run_id=other",
    "root=/elsewhere",
    "catalog=main.reweight",
    "spark={spark.ui.enabled: 'false'}",
    "tracking={tensorboard: {}}",
    "fitting={ranks: 2}",
    "fitting={feed: arrow, use_gpu: true, timeout: 1 hour, retries: 0}",
    "monitoring={bins: 5}",
    "promotion={horizon: 3}",
)
OTHER = (
    "seed=1",
    "data_dir=/data",
    "model_run_id=earlier",
    "strict=true",
    "simulation={path: /raw}",
    "cleaning.max_rejected=0.1",
    "sampling.segment=country",
    "splits.target=0.5",
    "features.numeric.price=log(price)",
    "fitting.batch_size=3",
    "fitting.shards=3",
    "fitting.validation_rows=3",
    "importance=[{method: random}]",
    "weighting.temper=0.5",
    "rankers=[{ranker: logistic_regression, max_iter: 7}]",
    "evaluation.replicates=177",
    "tuning.values=[0.5]",
    "explaining.steps=8",
    "exporting.rows=true",
)


def test_runs_that_compute_the_same_have_the_same_hash(tmp_path: Path) -> None:
    path = written(tmp_path, SMALLEST)
    assert {load_config(path, [o]).hash() for o in SAME} == {load_config(path).hash()}


def test_every_other_value_changes_the_hash(tmp_path: Path) -> None:
    path = written(tmp_path, SMALLEST)
    hashes = [load_config(path, overrides).hash() for overrides in ([], *[[o] for o in OTHER])]
    assert len(set(hashes)) == len(hashes)
    # A section that is added later has to be put into one of the two lists.
    keys = {override.partition("=")[0].partition(".")[0] for override in (*SAME, *OTHER)}
    # Days need more than one section: see tests/daily.
    assert keys == set(RunConfig.model_fields) - {"daily", "warm_start"}
    starts = ("importance=[{method: el2n}]", "warm_start.run_id=earlier", "warm_start.update=head")
    hashes = [load_config(path, starts[:count]).hash() for count in (1, 2, 3)]
    assert len(set(hashes)) == len(hashes)


def test_a_config_that_was_written_down_is_the_same_run(tmp_path: Path) -> None:
    config = load_config(DEMO)
    again = RunConfig.model_validate_json(config.model_dump_json(by_alias=True))
    assert again == config
    assert again.hash() == config.hash()


def test_a_digest_tells_where_a_text_ends() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("ab", "c") == digest("ab", "c")


def test_a_file_may_say_in_what_it_differs_from_another(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "day.yaml").write_text(
        f"base: {DEMO}\nrun_id: day\nsplits: {{by: row, open_windows: gap}}\n"
        "importance: [{method: random}]\n"
    )
    (tmp_path / "more" / "night.yaml").write_text("base: ../day.yaml\nsplits: {target: 0.5}\n")
    demo = load_config(DEMO)
    found = load_config(str(tmp_path / "more" / "night.yaml"), ("seed=7",))
    assert (found.run_id, found.seed) == ("day", 7)
    assert [m.name for m in found.importance] == ["random", "uniform"]
    assert found.splits == demo.splits.model_copy(
        update={"by": "row", "target": 0.5, "open_windows": "gap"}
    )
    assert found.features == demo.features


@pytest.mark.parametrize(
    ("base", "came"), [("own.yaml", "its own base"), ("no.yaml", "correct `base`")]
)
def test_a_base_that_is_none_is_named(tmp_path: Path, base: str, came: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f"base: {base}\nrun_id: a\n")
    with pytest.raises(ConfigError, match="could not be read") as caught:
        load_config(str(path))
    assert came in str(caught.value)


UNTIMED = SMALLEST | {
    "cleaning": {
        "sources": {"log": {"path": "/raw", "format": "csv"}},
        "times": False,
        "columns": {"user_id": "user", "price": "price"},
    }
}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("cleaning.times=true", "if the log has no times, write cleaning: {times: false}"),
        ("cleaning.columns.Event_Time=ts", "but ['columns.event_time'] are set"),
        ("cleaning.not_before='2026-03-01'", "but ['not_before'] are set"),
        ("cleaning.required=[event_time]", "cleaning.required: expected names out of"),
        ("cleaning.reject.early=year(event_time) < 2000", "cleaning.reject.early: the log has no"),
        ("splits.by=time", "splits.by: time: the log has no times (cleaning.times: false): write"),
        ("splits.target=0.5", "name the target by splits.target_where"),
        ("splits.target_where=event_time > now()", "`event_time > now()` uses event_time"),
        (
            "sampling.label={value: null, where: 'true', keys: [user_id]}",
            "sampling: {label: {value: ...}}",
        ),
        ("sampling.label.window=3 days", "sampling.label.window: the log has no times"),
        ("sampling.label.same_time=after", "sampling.label.same_time: the log has no times"),
        (
            "sampling.collapse={keys: [user_id], columns: {event_time: now()}}",
            "sampling.collapse.columns.event_time: the log has no times",
        ),
        ("features.cyclic=[hour_of_day]", "features.cyclic: the log has no times"),
        (
            "features.history={user: {keys: [user_id], counts: {n: 'true'}}}",
            "features.history: the log has no times (cleaning.times: false): nothing is earlier",
        ),
        (
            "features.sequence={keys: [user_id], fields: {n: {value: user_id}}}",
            "features.sequence: the log has no times (cleaning.times: false): nothing is earlier",
        ),
        ("features.numeric.hour=hour(EVENT_TIME)", "features.numeric.hour: the log has no times"),
    ],
)
def test_what_needs_times_is_refused_for_a_log_without_times(
    tmp_path: Path, override: str, said: str
) -> None:
    path = written(tmp_path, UNTIMED)
    assert not load_config(path).cleaning.times
    assert said in refusal(path, override)


def test_merged_events_have_a_time_where_the_log_has_times(tmp_path: Path) -> None:
    collapse = "sampling.collapse={keys: [user_id], columns: {bought: max(price)}}"
    timed = "cleaning.columns.event_time=try_to_timestamp(ts)"
    assert load_config(written(tmp_path, UNTIMED), [collapse]).sampling.collapse
    said = refusal(written(tmp_path, UNTIMED), collapse, timed, "cleaning.times=true")
    assert "sampling.collapse.columns: expected `event_time`, such as min(event_time)" in said


def cleaned(**more: Any) -> dict[str, Any]:
    columns = {"event_time": "try_to_timestamp(ts)", "user_id": "user", "Cost": "cost"}
    return SMALLEST | {"cleaning": SMALLEST["cleaning"] | {"columns": columns} | more}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        # Names that Spark takes for one.
        ("cleaning.columns.USER_ID=user", "['USER_ID', 'user_id'] are defined twice"),
        ("cleaning.required=[user_id, User_ID]", "got ['User_ID', 'user_id'] again"),
        ("cleaning.allowed={user_id: [a], User_Id: [b]}", "got ['User_Id', 'user_id']"),
        ("cleaning.reject={old: 'true', OLD: 'true'}", "got ['OLD', 'old']"),
        ("features.numeric.Price=1", "got twice: ['Price', 'price']"),
        ("cleaning.columns.Value=value", "event columns ['Value']"),
        ("cleaning.columns.Split=s", "event columns ['Split']"),
        ("importance=[{method: random, name: Uniform}]", "['Uniform', 'uniform'] more than once"),
        # Columns that are not there.
        ("cleaning.required=[thing]", "cleaning.required: expected names out of"),
        ("sampling.key=[thing]", "sampling.key: expected names out of"),
        (
            "features.history={a: {keys: [thing], counts: {n: 'true'}}}",
            "features.history.a.keys: expected names out of",
        ),
        (
            "features.sequence={keys: [thing], fields: {n: {value: '1'}}}",
            "features.sequence.keys: expected names out of",
        ),
        # Names of the code's own.
        ("cleaning.reject.duplicate=true", "the reasons ['duplicate'] are given by the stage"),
        ("features.numeric.label=1", "features ['label']: these names are reserved"),
        ("features.numeric.price_missing=1", "got twice: ['price_missing']"),
        ("features={cyclic: [hour_of_day], numeric: {hour_of_day_sin: 1}}", "hour_of_day_sin"),
        # Keys without an effect.
        ("cleaning.duplicates.prefer=user_id", "`prefer` has no effect without `keys`"),
        ("sampling.label.keys=[user_id]", "`keys` have no effect beside `value`"),
        ("cleaning.sources.log.schema=a int", "`schema` has no effect on csv files"),
        ("cleaning.sources.log.options={seperator: ;}", "the options ['seperator'] have no effect"),
        ("splits.judged=[de]", "write \"segment IN ('de')\""),
        ("sampling.keep={label: price}", "['label']: samples have columns of these names"),
        ("sampling.keep={Position: n}", "['Position', 'position'] are one name to Spark"),
        ("sampling.keep={A: n, a: n}", "['A', 'a'] are one name to Spark, which ignores case; "),
        ("evaluation.judges={mine: {where: price > 1}}", "expected the kind of the judge"),
        ("evaluation.judges={recorded: {label: clicked}}", "expected the labels of the log"),
        ("evaluation.judges={a: {label: x}, A: {label: y}}", "expected different names"),
        ("evaluation.judges={position: {clip: 1}}", "greater than 1"),
        ("weighting.segment_cap=0.5", "weighting.segment_cap has no effect without segments"),
        ("explaining.rows=10", "explaining.rows: Input should be greater than or equal to 100"),
        ("tuning.rounds=3", "['rounds'] have no effect with search: lambda"),
        ("tuning={search: legacy, values: [1]}", "['values'] have no effect with search: legacy"),
        (
            "importance=[{method: delayed_feedback, wait: 0.2}]",
            "['wait'] have no effect with form: fsiw",
        ),
        (
            "importance=[{method: ipw_position, snips: true}]",
            "['snips'] have no effect with estimator: em",
        ),
        ("ranking.recalibrate=[rnadom]", "'rnadom' is not in the run"),
        ("cleaning.allowed={user_id: []}", "cleaning.allowed.user_id: "),
    ],
)
def test_names_that_meet_and_keys_without_effect_are_refused(
    tmp_path: Path, override: str, said: str
) -> None:
    assert said in refusal(written(tmp_path, cleaned()), override)


def test_names_are_compared_as_spark_compares_them(tmp_path: Path) -> None:
    values = cleaned(required=["USER_ID"])
    values["cleaning"]["columns"]["Value"] = "v"
    sampling = {"label": {"value": "x"}, "key": ["User_Id"], "keep": {"value": "`VALUE`"}}
    assert load_config(written(tmp_path, values | {"sampling": sampling}))
    # The feature `v: Value` would be the price.
    sampling["keep"] = {"value": "price"}
    assert "event columns ['Value']" in refusal(written(tmp_path, values | {"sampling": sampling}))


def test_a_method_that_has_another_name_is_recalibrated_by_that_name() -> None:
    named = "importance=[{method: class_balanced, name: odds}]"
    by_kind = "ranking.recalibrate=[class_balanced]"
    assert "write one of ['odds']" in refusal(DEMO, named, by_kind)
    assert load_config(DEMO, [named, "ranking.recalibrate=[odds]"])
    # A list of the base of a run may name what the run leaves out.
    assert load_config(DEMO, ["importance=[{method: random}]", by_kind])


def test_a_window_wants_its_unit(tmp_path: Path) -> None:
    said = refusal(DEMO, "sampling.label.window=3")
    assert "sampling.label.window: expected a number and a unit" in said
    assert "write '3 days', or '3 seconds'" in said
    assert "fitting.timeout" in refusal(DEMO, "fitting.timeout=600")
    # What a run left is a config again.
    stored = load_config(DEMO).kept()
    assert stored["sampling"]["label"]["window"] == "3 days"
    assert stored["features"]["history"]["item"]["windows"] == ["1 day", "1 week", "all"]
    assert read_config(RunConfig, stored).sampling.label.window == 259_200


def test_numbers_and_booleans_are_texts_where_texts_are_compared(tmp_path: Path) -> None:
    rules = "cleaning.allowed.event_type=[0, 1.10, 0101, yes, true]"
    config = load_config(DEMO, [rules, "features.numeric.one=1"])
    assert config.cleaning.allowed["event_type"] == ("0", "1.10", "0101", "yes", "true")
    shares = load_config(DEMO, ["importance=[{method: rake, segments: {1: 0.4, no: 0.6}}]"])
    assert shares.importance[0].segments == {"1": 0.4, "no": 0.6}  # type: ignore[union-attr]
    assert config.features.numeric["one"] == "1"
    values = cleaned(allowed={"user_id": [0, True]})
    values["cleaning"]["sources"]["log"]["options"] = {"header": False}
    config = load_config(written(tmp_path, values))
    assert config.cleaning.allowed["user_id"] == ("0", "true")
    assert config.cleaning.sources["log"].options == {"header": "false"}


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("columns: {event_id: `Event ID`}", 'event_id: "`Event ID`"'),
        ("columns:\n    user_id: `User ID`", 'line 3: quote the value: user_id: "`User ID`"'),
        ("columns:\n    app: !web", 'line 3: quote the value: app: "!web"'),
        ("columns:\n\tapp: web", "line 3: indent with spaces"),
        ("columns: {a: to_date(ts, 'yyyy'), b: c}", "a: \"to_date(ts, 'yyyy')\""),
        ("columns: {a: f(x, 1), b: g(y, 1)}", 'a: "f(x, 1)", b: "g(y, 1)"'),
        (
            "columns: {same: int(substr(person, 1, 2) = 'a')}",
            "write same: \"int(substr(person, 1, 2) = 'a')\" under cleaning.columns",
        ),
        ("required: [coalesce(a, b), c]", 'write - "coalesce(a, b)" under cleaning.required'),
        ("not_before: 'a'\n  not_before: 'b'", "line 3: `not_before: 'b'` appears twice"),
        ("columns:\n    a: regexp_extract(ts, '${1}')", "\\${1} for a text that has ${1}"),
    ],
)
def test_the_line_that_yaml_read_otherwise_is_written_out(
    tmp_path: Path, line: str, fix: str
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"cleaning:\n  {line}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(str(path))
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("importance=[random]", "importance.0: expected keys with their values (got: 'random'); "
         "write - {method: random}"),
        ("features={numeric: [price]}", "write a name for each: numeric: {price: price}"),
        ("features.one_hot.kind=device", "write kind: {value: device}"),
        ("features.text.title=title", "write title: {value: title}"),
        ("features.similarity.like=[title]", "such as like: [query, title]"),
        ("features.similarity.like=title", "such as like: [query, title]"),
        ("sampling.label.keys=user_id", "write keys: [user_id]"),
        ("sampling.group=[user_id]", "write group: user_id"),
        ("cleaning.ranges.price=[0]", "such as [0, null]"),
        ('splits.cuts=["2026-01-10"]', "splits.cuts.1: missing; write all of its parts\n"),
        ("features.numeric.'log price'=1", "write log_price"),
        ("splits.shares=[60, 20, 20]", "such as [0.6, 0.2, 0.2]"),
        ("cleaning.sources.log.path=[a, b]", "such as /data/*.csv"),
        ("root=~", "write root: '...'"),
    ],
)  # fmt: skip
def test_the_form_that_was_meant_is_written_out(override: str, meant: str) -> None:
    assert meant in refusal(DEMO, "features=null", override)
