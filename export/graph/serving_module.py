"""The module that is served: raw features in, probabilities out,
and no variable that serving does not read.
"""

import pathlib
from collections.abc import Mapping
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from export import interface
from export.graph import saved_variables
from pfrec import errors
from pfrec.data import schema as schema_lib

_LENGTHS_DIFFER = (
    "every feature must be a list of single values (rank 1) or, where its rows hold lists or "
    "vectors, of those (rank 2), all of one length; names, "
    "ranks and sizes:"
)


class ServingModule(tf.Module):
    """A trained network with the encoding of its features in the graph,
    and every signature of its interface.

    `tf.saved_model.save` keeps every variable that the saved object tracks, read or not. So this
    module does not track the network: it tracks the variables and tables that its signatures
    captured, and no others.

    Args:
      network: maps `{"categorical": int32 [rows, features], "numerical": float32 [rows, features]}`
        to `{task: logits [rows]}`; a router's network also takes `"scenario"`, string [rows].
      served: the features and tasks.

    Attributes:
      weights: the variables that serving reads, by name.
      functions: the concrete function of each signature of `served`, by its name.

    Raises:
      PfrecError: where a signature reads a variable that is not the network's.
    """

    def __init__(self, network: Any, served: interface.Interface) -> None:
        super().__init__(name="serving")
        schema = served.schema
        tables = {
            f.name: _vocabulary_table(f)
            for f in schema.categorical
            if f.encoding == "vocabulary" and f.vocabulary and not f.table
        }
        named = {
            name: tf.TensorSpec(served.shape(name), dtype, name=name)
            for name, dtype in served.inputs().items()
        }
        serialized = tf.TensorSpec([None], tf.string, name=interface.EXAMPLES)
        layout = {
            name: _in_example(dtype, name in served.listed, served.vectors.get(name))
            for name, dtype in served.inputs().items()
        }
        wide = {**dict.fromkeys(served.listed), **served.vectors}

        def serve(inputs: Mapping[str, tf.Tensor]) -> "dict[str, tf.Tensor]":
            features = _checked(inputs, wide)
            encoded = encode(features, schema, tables)
            if served.scenarios:
                encoded[interface.SCENARIO] = features[interface.SCENARIO]
            logits = network(encoded, training=False)
            return {task: tf.reshape(tf.sigmoid(logits[task]), [-1]) for task in served.tasks()}

        def function(body: Any, spec: Any) -> Any:
            return tf.function(body, input_signature=[spec], autograph=False)

        # Each is traced once, and called by the signatures that go on from it.
        of_features = function(serve, named)

        def parse(inputs: tf.Tensor) -> "dict[str, tf.Tensor]":
            checked = _checked({interface.EXAMPLES: inputs}, {})
            return of_features(tf.io.parse_example(checked[interface.EXAMPLES], layout))

        parsed = function(parse, serialized)

        def classify(inputs: tf.Tensor) -> "dict[str, tf.Tensor]":
            given = parsed(inputs)
            classes = tf.tile(tf.constant([served.tasks()]), [tf.size(inputs), 1])
            return {
                interface.CLASSES: classes,
                interface.SCORES: tf.stack([given[task] for task in served.tasks()], axis=1),
            }

        def regression(task: str) -> Any:
            return lambda inputs: {interface.REGRESSED: parsed(inputs)[task]}

        bodies = {interface.CLASSIFY: classify}
        bodies.update({name: regression(task) for name, task in served.regressions().items()})
        self.functions = {interface.SERVE: of_features.get_concrete_function()}
        for name, body in bodies.items():
            self.functions[name] = function(body, serialized).get_concrete_function()
        captured = {id(v): v for function in self.functions.values() for v in function.variables}
        own = {id(variable) for variable in network.variables}
        foreign = [variable.name for variable in captured.values() if id(variable) not in own]
        if foreign:
            raise errors.PfrecError(
                f"serving reads variables outside the trained model: {', '.join(sorted(foreign))}; "
                "report this"
            )
        self.tables = list(tables.values())
        # In the network's order: the order of a function's variables differs from process to
        # process.
        self.weights = _by_name(
            network, [variable for variable in network.variables if id(variable) in captured]
        )


def encode(
    features: Mapping[str, tf.Tensor],
    schema: schema_lib.Schema,
    tables: Mapping[str, tf.lookup.StaticHashTable],
) -> "dict[str, tf.Tensor]":
    """Raw features to what the network reads, in graph operations.

    An identity id out of range becomes the unknown id: a gather would raise on CPU and return zeros
    on GPU. A number that is NaN or infinite becomes the column's default. A column that its client
    normalises is normalised with the client's shift and scale, in float64 as in training.

    Args:
      features: each [rows], or [rows, values] where its rows hold lists or vectors.
      schema: of the features.
      tables: from word to id, for features with a vocabulary.

    Returns:
      `categorical` int32 [rows, `schema.id_columns`] and `numerical` float32 [rows,
      `schema.number_columns`].
    """
    # Operations on all columns at once: at a batch of one row, a call's time is that of starting
    # its operations.
    lists = [place for place, feature in enumerate(schema.categorical) if feature.values > 1]
    single = [place for place in range(len(schema.categorical)) if place not in lists]
    whole = [place for place in single if schema.categorical[place].encoding == "identity"]
    other = [place for place in single if place not in whole]
    parts = []
    if whole:
        values = tf.stack([features[schema.categorical[place].name] for place in whole], axis=1)
        unknown = tf.constant([schema.categorical[place].cardinality for place in whole], tf.int64)
        parts.append(
            tf.cast(tf.where((values >= 0) & (values < unknown), values, unknown), tf.int32)
        )
    if other:
        ids = [
            _text_ids(features[schema.categorical[place].name], schema.categorical[place], tables)
            for place in other
        ]
        parts.append(tf.cast(tf.stack(ids, axis=1), tf.int32))
    parts += [
        _list_ids(features[schema.categorical[place].name], schema.categorical[place], tables)
        for place in lists
    ]
    columns = [
        column
        for place in (*whole, *other, *lists)
        for column in range(schema.id_columns)[schema.id_places[place]]
    ]
    categorical = tf.concat(parts, axis=1) if parts else _no_columns(features, tf.int32)
    if columns != sorted(columns):
        categorical = tf.gather(categorical, np.argsort(columns), axis=1)
    numerical = _no_columns(features, tf.float32)
    if schema.numerical:
        if schema.number_columns == len(schema.numerical):
            numerical = tf.stack([features[column.name] for column in schema.numerical], axis=1)
        else:
            numerical = tf.concat(
                [tf.reshape(features[c.name], [-1, c.values]) for c in schema.numerical], axis=1
            )
        sizes = [column.values for column in schema.numerical]
        defaults = tf.constant(np.repeat([c.default for c in schema.numerical], sizes), tf.float32)
        numerical = tf.where(tf.math.is_finite(numerical), numerical, defaults)
        if any(column.normalise != "none" for column in schema.numerical):
            shift, scale = (
                tf.constant(
                    np.repeat([getattr(c, name) for c in schema.numerical], sizes), tf.float64
                )
                for name in ("shift", "scale")
            )
            numerical = tf.cast((tf.cast(numerical, tf.float64) - shift) / scale, tf.float32)
    return {"categorical": categorical, "numerical": numerical}


def _no_columns(features: Mapping[str, tf.Tensor], dtype: tf.DType) -> tf.Tensor:
    return tf.zeros([tf.shape(next(iter(features.values())))[0], 0], dtype)


def _in_example(dtype: str, listed: bool, numbers: Optional[int]) -> Any:
    """How an input stands in a tf.Example.

    A missing list is empty, a missing number is NaN, which becomes the column's default; any other
    missing value is an error, as all are where tensors are named.
    """
    if not listed:
        shape = [] if numbers is None else [numbers]
        missing = np.full(shape, np.nan, np.float32) if dtype == "float32" else None
        return tf.io.FixedLenFeature(shape, dtype, missing)
    return tf.io.FixedLenSequenceFeature(
        [],
        dtype,
        allow_missing=True,
        default_value="" if dtype == "string" else schema_lib.NO_VALUE,
    )


def _list_ids(
    values: tf.Tensor,
    feature: schema_lib.Categorical,
    tables: Mapping[str, tf.lookup.StaticHashTable],
) -> tf.Tensor:
    """Ids, int32 [rows, feature.values], of lists [rows, any width]: of the first values, or the
    last, wherever fillers stand, as in a conversion.
    """
    if feature.encoding == "identity":
        known = tf.not_equal(values, schema_lib.NO_VALUE)
        ids = tf.where((values >= 0) & (values < feature.cardinality), values, feature.cardinality)
    else:
        values = tf.strings.strip(values)
        known = tf.not_equal(values, "")
        ids = _text_ids(values, feature, tables)
    ids = tf.where(known, tf.cast(ids, tf.int32), schema_lib.NO_VALUE)
    if feature.keep == schema_lib.LAST:
        fillers_first = tf.argsort(tf.cast(known, tf.int32), stable=True)
        ids = tf.gather(ids, fillers_first, batch_dims=1)[:, -feature.values :]
        known = tf.not_equal(ids, schema_lib.NO_VALUE)
    fillers_last = tf.argsort(tf.cast(known, tf.int32), direction="DESCENDING", stable=True)
    ids = tf.gather(ids, fillers_last, batch_dims=1)[:, : feature.values]
    missing = feature.values - tf.shape(ids)[1]
    return tf.ensure_shape(
        tf.pad(ids, [[0, 0], [0, missing]], constant_values=schema_lib.NO_VALUE),
        [None, feature.values],
    )


def _text_ids(
    values: tf.Tensor,
    feature: schema_lib.Categorical,
    tables: Mapping[str, tf.lookup.StaticHashTable],
) -> tf.Tensor:
    """Ids, int64 of the same shape, of raw values that are text."""
    if feature.encoding == "hash":
        return tf.strings.to_hash_bucket_fast(values, feature.cardinality)
    if not feature.vocabulary:
        return tf.fill(tf.shape(values), tf.constant(feature.cardinality, tf.int64))
    return tables[feature.owner].lookup(values)


def set_methods(directory: pathlib.Path, methods: Mapping[str, str]) -> None:
    """Gives signatures the method names that a server asks for:
    `tf.saved_model.save` writes `predict` for all.

    TensorFlow's fingerprint.pb does not follow; the manifest is the checksum to trust.
    """
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(directory))
    for name, method in sorted(methods.items()):
        updater.replace_method_name(signature_key=name, method_name=method, tags="serve")
    updater.save()


def save(
    module: ServingModule, served: interface.Interface, directory: pathlib.Path
) -> "dict[str, list[int]]":
    """Writes a SavedModel and checks that it holds the module's weights and no other variable.

    Args:
      module: what to serve.
      served: its interface, which names the method of each signature.
      directory: to write to.

    Returns:
      The shape of every variable in it, by name in the checkpoint.

    Raises:
      PfrecError: where a variable that serving does not read got in, or the directory cannot be
        written.
    """
    try:
        tf.saved_model.save(module, str(directory), signatures=module.functions)
        set_methods(directory, {name: value.method for name, value in served.signatures().items()})
    except tf.errors.OpError as error:
        raise errors.PfrecError(
            f"{directory}: {errors.readable(error.message)}; free space or choose another path"
        ) from error
    saved = saved_variables.shapes(directory)
    # TensorFlow's names in a checkpoint: the path of attributes, with a slash inside a key written
    # as `.S`.
    keys = [name.replace(".", "..").replace("/", ".S") for name in module.weights]
    expected = {f"weights/{key}/.ATTRIBUTES/VARIABLE_VALUE" for key in keys}
    foreign = sorted(set(saved) - expected)
    if foreign:
        raise errors.PfrecError(
            f"{directory}: variables that serving does not read: {', '.join(foreign)}; track them "
            "elsewhere"
        )
    if expected - set(saved):
        raise errors.PfrecError(
            f"{directory}: variables are missing: {', '.join(sorted(expected - set(saved)))}; "
            "export the model again"
        )
    return saved


def _checked(
    inputs: Mapping[str, tf.Tensor], wide: "Mapping[str, Optional[int]]"
) -> "dict[str, tf.Tensor]":
    """The inputs, after a check of their shapes when the graph runs:
    a server does not check what a REST request holds.

    Args:
      inputs: the inputs.
      wide: those of rank 2, with their width where it is fixed.
    """
    # The signature says which rank, so the graph optimiser would decide the check beforehand. A
    # placeholder without shape hides it.
    hidden = {
        name: tf.compat.v1.placeholder_with_default(value, shape=None)
        for name, value in sorted(inputs.items())
    }
    found: dict[str, tf.Tensor] = {}
    for dtype in sorted(
        {value.dtype.name for value in hidden.values()}
    ):  # one operation for all inputs of a type
        alike = [name for name, value in hidden.items() if value.dtype.name == dtype]
        found.update(zip(alike, tf.shape_n([hidden[name] for name in alike])))
    shapes = [found[name] for name in hidden]
    ranks = tf.stack([tf.size(shape) for shape in shapes])
    sizes = tf.concat(
        [shape[:1] if name in wide else shape for name, shape in zip(hidden, shapes)], axis=0
    )
    wanted = [2 if name in wide else 1 for name in hidden]
    # `tf.equal`, not `==`: where TensorFlow was first imported below absl's app.run, `==` compares
    # objects while a function is traced.
    fine = tf.reduce_all(tf.equal(ranks, wanted)) & tf.equal(
        tf.reduce_min(sizes), tf.reduce_max(sizes)
    )
    for name, shape in zip(hidden, shapes):
        if wide.get(name) is not None:
            fine &= tf.reduce_all(tf.equal(shape[1:2], wide[name]))
    check = tf.debugging.Assert(fine, [_LENGTHS_DIFFER, list(hidden), ranks, sizes], summarize=-1)
    with tf.control_dependencies([check]):
        return dict(zip(inputs, tf.identity_n(list(inputs.values()))))


def _vocabulary_table(feature: schema_lib.Categorical) -> tf.lookup.StaticHashTable:
    """From word to id, with the words in the graph itself: no file, hence no path,
    belongs to it.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(feature.vocabulary):
        places.setdefault(word, place)
    initial = tf.lookup.KeyValueTensorInitializer(
        tf.constant(list(places), tf.string), tf.constant(list(places.values()), tf.int64)
    )
    return tf.lookup.StaticHashTable(
        initial, default_value=feature.cardinality, name=f"vocabulary_{feature.name}"
    )


def _by_name(network: Any, variables: "list[tf.Variable]") -> "dict[str, tf.Variable]":
    """Variables by unique name, without the network's own name,
    which differs from process to process.
    """
    named: dict[str, tf.Variable] = {}
    for variable in variables:
        name = variable.name.split(":")[0]
        if name.startswith(f"{network.name}/"):
            name = name[len(network.name) + 1 :]
        unique, number = name, 1
        while unique in named:
            unique, number = f"{name}_{number}", number + 1
        named[unique] = variable
    return named
