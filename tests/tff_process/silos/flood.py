"""Sends a gatekeeper many large messages at one time, or one that is compressed; a process of its
own imports this alone.
"""

import grpc


def send(port: int, message: bytes, count: int) -> None:
    """Sends the same CreateValue so many times at once and waits for what becomes of them."""
    options = (("grpc.max_send_message_length", -1),)
    with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        call = channel.unary_unary("/tensorflow_federated.v0.ExecutorGroup/CreateValue")
        waiting = [call.future(message, timeout=50) for _ in range(count)]
        said = [one.code() for one in waiting]
    assert grpc.StatusCode.OK in said
    # Too many calls at once, or too many values; the first ones before the limit is known.
    codes = grpc.StatusCode
    refusals = {codes.RESOURCE_EXHAUSTED, codes.PERMISSION_DENIED, codes.UNAVAILABLE}
    assert set(said) <= {codes.OK, *refusals}


def send_compressed(port: int, length: int, compression: grpc.Compression) -> None:
    """Sends a CreateValue of so many zeros, compressed, and waits for its refusal."""
    options = (("grpc.max_send_message_length", -1),)
    with grpc.insecure_channel(f"127.0.0.1:{port}", options, compression) as channel:
        call = channel.unary_unary("/tensorflow_federated.v0.ExecutorGroup/CreateValue")
        said = call.future(bytes(length), timeout=50).code()
    assert said == grpc.StatusCode.INVALID_ARGUMENT, said
