from tff_process.runtime import logs


def test_a_long_log_is_cut_to_its_end_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "MOST_BYTES", 1_000)
    monkeypatch.setattr(logs, "KEPT_BYTES", 100)
    path = tmp_path / "worker.log"
    logs.shorten(path)
    with logs.open_to_append(path) as stream:
        stream.write(b"".join(b"line %04d\n" % number for number in range(100)))
        stream.flush()
        logs.shorten(path)
        assert path.stat().st_size == 1_000
        stream.write(b"line 0100\n")
        stream.flush()
        logs.shorten(path)
        stream.write(b"line 0101\n")
    lines = path.read_text().splitlines()
    assert lines == [f"line {number:04d}" for number in range(92, 102)]
    assert path.stat().st_mode & 0o777 == 0o600
