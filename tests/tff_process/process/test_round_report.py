"""What is known of a round."""

from tff_process.process import round_report


def test_report_of_a_round_by_hand():
    report = round_report.whole_round(
        [
            round_report.RoundReport(
                {"a": 1.0, "b": 3.0}, {"gram": 1}, refused={"c": "not finite"}
            ),
            round_report.RoundReport(
                {"a": 2.0}, {"gram": 2}, skipped={"b": "hung"}, clipped={"a": 0.5}
            ),
            round_report.RoundReport({"a": 6.0}, {}, applied=False),
        ]
    )
    assert report == round_report.RoundReport(
        {"a": 3.0, "b": 3.0},
        {"gram": 2},
        refused={"c": "not finite"},
        skipped={"b": "hung"},
        clipped={"a": 0.5},
        applied=True,
    )
    assert not round_report.whole_round(
        [round_report.RoundReport({}, {}, applied=False)] * 2
    ).applied
