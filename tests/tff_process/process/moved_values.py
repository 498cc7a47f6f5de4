"""What a computation moves from CLIENTS to SERVER."""

import tensorflow_federated as tff


def to_server(computation):
    """The types of all values that a computation moves from CLIENTS to SERVER."""
    moved = []

    def visit(block):
        if isinstance(block, tff.framework.Intrinsic):
            kind = block.type_signature
            parameter, result = kind.parameter, kind.result
            arguments = list(parameter) if isinstance(parameter, tff.StructType) else [parameter]
            from_clients = [
                a.member
                for a in arguments
                if isinstance(a, tff.FederatedType) and a.placement is tff.CLIENTS
            ]
            if (
                isinstance(result, tff.FederatedType)
                and result.placement is tff.SERVER
                and from_clients
            ):
                moved.extend(from_clients)
        return block, False

    tff.framework.transform_postorder(computation.to_building_block(), visit)
    return moved


def leaves(kind, path=()):
    """(path, tensor type) of every tensor in a type."""
    if isinstance(kind, tff.StructType):
        for name, inner in tff.structure.to_elements(kind):
            yield from leaves(inner, (*path, name))
    else:
        yield path, kind
