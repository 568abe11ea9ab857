"""When pictures were taken, whatever the wall clock does."""

from dygro_ros.observation_times import KEPT, ObservationTimes

MS = 1_000_000


def test_a_picture_is_as_old_as_it_was_on_arrival() -> None:
    times = ObservationTimes()
    assert times.arrived(1_000 * MS, 1_030 * MS, now_s=7.0)
    taken_s = times.taken_s(1_000 * MS)
    assert taken_s is not None and abs(taken_s - 6.97) < 1e-9
    assert times.taken_s(1_001 * MS) is None


def test_promise_8_a_jump_of_the_wall_clock_costs_the_pictures_under_way_and_no_others() -> None:
    times = ObservationTimes()
    times.arrived(1_000 * MS, 1_030 * MS, now_s=7.0)
    hour = 3_600_000 * MS
    assert not times.arrived(1_033 * MS, 1_060 * MS + hour, now_s=7.03)  # forwards, between stamp and arrival
    assert not times.arrived(1_066 * MS + hour, 1_090 * MS, now_s=7.06)  # and back again
    assert times.refused == 2
    assert times.arrived(1_100 * MS - hour, 1_130 * MS - hour, now_s=7.1)
    before, after = times.taken_s(1_000 * MS), times.taken_s(1_100 * MS - hour)
    assert before is not None and after is not None
    assert abs(after - before - 0.1) < 1e-9


def test_old_pictures_are_forgotten() -> None:
    times = ObservationTimes()
    for index in range(KEPT + 1):
        times.arrived(index * MS, index * MS, now_s=1e-3 * index)
    assert times.taken_s(0) is None and times.taken_s(KEPT * MS) is not None
