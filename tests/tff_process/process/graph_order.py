"""Finds operations on one variable that a graph leaves in no order, of which at least one writes.

Such a pair gives one result or another from run to run. `tf.function` puts them in order by control
edges, but what optimises a graph may drop an edge. The graphs looked at are those that TFF sends to
its workers: optimised, with loops as cycles of Enter, Merge, Switch, NextIteration and Exit nodes.
"""

import collections

import tensorflow as tf
import tensorflow_federated as tff

_PASSING = {"Identity", "Enter", "Exit", "Merge", "NextIteration", "Switch"}
_READING = {"ReadVariableOp", "ResourceGather"}


def graph_of(computation):
    """(GraphDef, names of the nodes of its results) of a TensorFlow computation,
    compiled as for a worker.
    """
    compiled = tff.backends.native.desugar_and_transform_to_native(computation)
    message = tff.framework.serialize_computation(compiled)
    while message.WhichOneof("computation") != "tensorflow":
        message = {
            "lambda": lambda m: getattr(m, "lambda").result,
            "call": lambda m: m.call.function,
        }[message.WhichOneof("computation")](message)
    graph = tf.compat.v1.GraphDef()
    message.tensorflow.graph_def.Unpack(graph)
    return graph, list(_names(message.tensorflow.result))


def _names(binding):
    if binding.WhichOneof("binding") == "tensor":
        yield _node(binding.tensor.tensor_name)
    else:
        for element in binding.struct.element:
            yield from _names(element)


def unordered(graph, results):
    """Pairs of names of nodes that run for `results`, touch one variable, and are in no order; "x >
    y" for x in one and y in the next pass.
    """
    nodes = {node.name: node for node in graph.node}
    inputs = {name: [_node(source) for source in node.input] for name, node in nodes.items()}
    run = _reaching(inputs, results)
    loops = _loops(nodes, inputs, run)
    found, passes = [], {}

    def within(loop):
        if loop not in passes:
            passes[loop] = _Pass(nodes, inputs, loops, loop)
        return passes[loop]

    for touching in _variable_operations(nodes, run).values():
        for number, first in enumerate(touching):
            for second in touching[: number + 1]:
                if nodes[first].op in _READING and nodes[second].op in _READING:
                    continue
                common = tuple(a for a, b in zip(loops[first], loops[second]) if a == b)
                here = within(common)
                if (
                    first != second
                    and not here.before(first, second)
                    and not here.before(second, first)
                ):
                    found.append(f"{first} {second}")
                for depth in range(1, len(common) + 1):
                    around = within(common[:depth])
                    found.extend(
                        f"{x} > {y}"
                        for x, y in {(first, second), (second, first)}
                        if not around.into_next(x, y)
                    )
    return found


class _Pass:
    """One pass through some loops, each within the one before:
    what leads back to their starts is cut, inner loops are whole.

    Nodes are bits of integers here, since most have thousands before them.
    """

    def __init__(self, nodes, inputs, loops, within):
        back = {
            name
            for name, own in loops.items()
            if nodes[name].op == "NextIteration" and own[-1] in within
        }
        self._back = {name for name in back if loops[name][-1] == within[-1]}
        self._all_inputs, self._bits = inputs, {name: 1 << n for n, name in enumerate(loops)}
        cut = {name: () if name in back else inputs[name] for name in loops}
        self._up_to = {}
        for knot in _knots(cut):
            up_to = 0
            for name in knot:
                up_to |= self._bits[name]
                for source in cut[name]:
                    up_to |= self._up_to.get(source, 0)  # None yet of the knot itself.
            self._up_to.update(dict.fromkeys(knot, up_to))

    def _all_before(self, name):
        found = 0
        for source in self._all_inputs[name]:
            found |= self._up_to[source]
        return found

    def before(self, first, second):
        return bool(self._bits[first] & self._all_before(second))

    def into_next(self, first, second):
        """Whether `first` in one pass of the innermost loop is before `second` in the next."""
        ends = self._all_before(second)
        return any(self._bits[name] & ends and self.before(first, name) for name in self._back)


def _knots(inputs):
    """The nodes that are reached from each other, by Tarjan's algorithm: each set of them after all
    that they are reached from.
    """
    numbers, lowest, waiting, done = {}, {}, [], set()
    for start in inputs:
        path = [] if start in numbers else [(start, iter(inputs[start]))]
        while path:
            name, sources = path[-1]
            if name not in numbers:
                numbers[name] = lowest[name] = len(numbers)
                waiting.append(name)
            for source in sources:
                if source not in numbers:
                    path.append((source, iter(inputs[source])))
                    break
                if source not in done:
                    lowest[name] = min(lowest[name], numbers[source])
            else:
                path.pop()
                if path:
                    above = path[-1][0]
                    lowest[above] = min(lowest[above], lowest[name])
                if lowest[name] == numbers[name]:
                    place = waiting.index(name)
                    knot, waiting = waiting[place:], waiting[:place]
                    done.update(knot)
                    yield knot


def _node(source):
    return source.lstrip("^").split(":")[0]


def _reaching(inputs, ends):
    """All nodes from which one of `ends` can be reached, these included."""
    seen, open_ = set(ends), list(ends)
    while open_:
        for source in inputs[open_.pop()]:
            if source not in seen:
                seen.add(source)
                open_.append(source)
    return seen


def _loops(nodes, inputs, run):
    """The names of the loops that each node is in, outermost first."""
    users = collections.defaultdict(list)
    for name in run:
        for source in inputs[name]:
            users[source].append(name)
    loops = {name: () for name in run if not inputs[name]}
    open_ = list(loops)
    while open_:
        name = open_.pop()
        for user in users[name]:
            # An Exit is listed within its loop; what follows it is outside.
            outside = loops[name][:-1] if nodes[name].op == "Exit" else loops[name]
            own = (
                (*outside, nodes[user].attr["frame_name"].s)
                if nodes[user].op == "Enter"
                else outside
            )
            if len(own) > len(loops.get(user, ())) or user not in loops:
                loops[user] = own
                open_.append(user)
    return loops


def _variable_operations(nodes, run):
    """The nodes that touch each variable."""
    touching = collections.defaultdict(list)

    def root(name):
        while nodes[name].op in _PASSING:
            name = _node(nodes[name].input[0])
        return name

    for name in sorted(run):
        if nodes[name].op not in _PASSING:
            for handle in {
                root(_node(source)) for source in nodes[name].input if not source.startswith("^")
            }:
                if nodes[handle].op == "VarHandleOp":
                    touching[handle].append(name)
    return touching
