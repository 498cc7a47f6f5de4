"""Writes files in exactly the layouts in which the public datasets are published, with random
content.
"""

import csv
import dataclasses
import io
import pathlib
import random
import zipfile

ALI_CCP_FIELDS = (
    *(
        "101",
        "121",
        "122",
        "124",
        "125",
        "126",
        "127",
        "128",
        "129",
        "205",
        "206",
        "207",
        "216",
        "508",
        "509",
        "702",
        "853",
        "301",
    ),
    *("109_14", "110_14", "127_14", "150_14", "210"),  # fields that the usual 18 leave out
)


@dataclasses.dataclass
class AliExpress:
    """A country's rows as written: `users[split]` and `items[split]` are lists of lists of text."""

    users: "dict[str, list[list[str]]]"
    items: "dict[str, list[list[str]]]"


def aliexpress(seed: int = 0, pages: int = 40) -> AliExpress:
    """Random rows of one country: 1 to 12 items a page, codes of small cardinality,
    numbers of six digits.
    """
    draw = random.Random(seed)
    users: dict[str, list[list[str]]] = {}
    items: dict[str, list[list[str]]] = {}
    search = 1000
    for split in ("train", "test"):
        users[split], items[split] = [], []
        for _ in range(pages):
            search += draw.randint(1, 3)
            user = [str(search)] + [str(draw.randint(0, 5)) for _ in range(7)]
            user += [f"{draw.uniform(-2, 9):.6f}" for _ in range(23)] + [
                str(draw.randint(0, 3)) for _ in range(2)
            ]
            users[split].append(user)
            for _ in range(draw.randint(1, 12)):
                item = (
                    [str(search)]
                    + [f"{draw.uniform(0, 1):.6f}" for _ in range(47)]
                    + [draw.choice("000112")]
                )
                for column in (19, 34, 35, 36, 40, 41, 42):
                    item[column - 1] = str(draw.randint(0, 9))
                items[split].append(item)
    return AliExpress(users, items)


def text(rows: "list[list[str]]", line_end: str = "\n") -> bytes:
    """Rows as comma-separated text without a header."""
    return "".join(",".join(row) + line_end for row in rows).encode()


def write_aliexpress(
    folder: pathlib.Path, country: str, made: AliExpress, how: str = "nested"
) -> pathlib.Path:
    """Writes a country.

    Args:
      folder: to write in.
      country: `NL`, for example.
      made: its rows.
      how: `nested`, one zip of zips within `aliexpress_XX_datasets/`; `short`, the same within
        `XX/`; `zips`, unpacked to zips; `plain`, unpacked to CSV files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    members = {}
    for kind, rows in (("user", made.users), ("item", made.items)):
        for split in ("train", "test"):
            members[f"{country}_{kind}_{split}"] = text(rows[split])
    if how == "plain":
        for name, content in members.items():
            (folder / f"{name}.csv").write_bytes(content)
        return folder
    zipped = {f"{name}.zip": _zip({f"{name}.csv": content}) for name, content in members.items()}
    if how == "zips":
        for name, content in zipped.items():
            (folder / name).write_bytes(content)
        return folder
    inner = f"aliexpress_{country}_datasets" if how == "nested" else country
    (folder / f"aliexpress_{country}_datasets.zip").write_bytes(
        _zip({f"{inner}/{n}": content for n, content in zipped.items()})
    )
    return folder


def _zip(members: "dict[str, bytes]") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def table(columns: "list[str]", rows: "list[dict[str, object]]") -> bytes:
    """Rows as CSV with a header."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


TENREC_VIDEO = [
    "user_id",
    "item_id",
    "click",
    "follow",
    "like",
    "share",
    "video_category",
    "watching_times",
    "gender",
    "age",
]
TENREC_ARTICLE = [
    *(
        "user_id",
        "item_id",
        "click",
        "gender",
        "age",
        "exposure_count",
        "click_count",
        "like_count",
        "comment_count",
    ),
    *(
        "read_percentage",
        "item_score1",
        "item_score2",
        "category_second",
        "category_first",
        "item_score3",
        "read",
        "read_time",
    ),
    *("share", "like", "follow", "favorite"),
]


def tenrec(name: str, rows: int = 400, seed: int = 0) -> "list[dict[str, object]]":
    """Random rows of a Tenrec file; some values are missing."""
    draw = random.Random(f"{name}{seed}")
    columns = TENREC_VIDEO if name.endswith("video") else TENREC_ARTICLE
    columns = columns[:15] if name == "QB-article" else columns
    made = []
    for _ in range(rows):
        row: dict[str, object] = {column: round(draw.uniform(0, 90), 2) for column in columns}
        row.update(
            {
                c: draw.randint(0, 1)
                for c in ("click", "follow", "like", "share", "favorite", "read")
                if c in columns
            }
        )
        if name.endswith("article"):
            row["click"] = 1
            row.update(
                category_first=draw.randint(100, 120), category_second=draw.randint(10_000, 10_050)
            )
        else:
            row["video_category"] = draw.choice([0, 1])
        row.update(user_id=draw.randint(1, 40), item_id=draw.randint(1, 10**6))
        row.update(gender=draw.choice([0, 1, 2]), age=draw.choice([*range(8), "\\N"]))
        made.append({column: row[column] for column in columns})
    return made


def ali_ccp(
    seed: int = 0, rows: int = 300
) -> "tuple[dict[str, list[list[str]]], dict[str, list[list[str]]]]":
    """Random skeleton and common rows by split.

    Common rows hold the user's fields and a history; skeleton rows the item's.
    """
    draw = random.Random(seed)
    skeleton: dict[str, list[list[str]]] = {}
    common: dict[str, list[list[str]]] = {}
    for split in ("train", "test"):
        common[split], skeleton[split] = [], []
        for number in range(12):
            features = [(field, str(draw.randint(1, 6))) for field in ALI_CCP_FIELDS[:9]] + [
                ("109_14", str(draw.randint(1, 99)))
            ] * 3
            common[split].append(
                [f"{split}{number:012x}", str(len(features)), _features(features, draw)]
            )
        for number in range(rows):
            features = [(field, str(draw.randint(1, 5))) for field in ALI_CCP_FIELDS[9:17]]
            features += [("301", draw.choice(["1", "2", "3"])), ("210", "7"), ("210", "8")]
            click, buy = draw.choice(["00", "00", "10", "11", "01"])
            key = common[split][draw.randrange(12)][0]
            skeleton[split].append(
                [str(number), click, buy, key, str(len(features)), _features(features, draw)]
            )
    return skeleton, common


def _features(features: "list[tuple[str, str]]", draw: random.Random) -> str:
    return "\x01".join(
        f"{field}\x02{identifier}\x03{draw.choice(['1.0', '0.5'])}"
        for field, identifier in features
    )


def write_ali_ccp(
    folder: pathlib.Path,
    skeleton: "dict[str, list[list[str]]]",
    common: "dict[str, list[list[str]]]",
) -> pathlib.Path:
    """Writes the four files."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        (folder / f"sample_skeleton_{split}.csv").write_bytes(text(skeleton[split]))
        (folder / f"common_features_{split}.csv").write_bytes(text(common[split]))
    return folder


KUAIRAND_LOG = [
    *(
        "user_id",
        "video_id",
        "date",
        "hourmin",
        "time_ms",
        "is_click",
        "is_like",
        "is_follow",
        "is_comment",
        "is_forward",
        "is_hate",
    ),
    *(
        "long_view",
        "play_time_ms",
        "duration_ms",
        "profile_stay_time",
        "comment_stay_time",
        "is_profile_enter",
        "is_rand",
        "tab",
    ),
]
KUAIRAND_USER = [
    *(
        "user_id",
        "user_active_degree",
        "is_lowactive_period",
        "is_live_streamer",
        "is_video_author",
        "follow_user_num",
    ),
    *(
        "follow_user_num_range",
        "fans_user_num",
        "fans_user_num_range",
        "friend_user_num",
        "friend_user_num_range",
        "register_days",
    ),
    *("register_days_range", *(f"onehot_feat{i}" for i in range(18))),
]
KUAIRAND_VIDEO = [
    *(
        "video_id",
        "author_id",
        "video_type",
        "upload_dt",
        "upload_type",
        "visible_status",
        "video_duration",
        "server_width",
    ),
    *("server_height", "music_id", "music_type", "tag"),
]


def write_kuairand(
    folder: pathlib.Path, name: str = "pure", rows: int = 400, seed: int = 0
) -> pathlib.Path:
    """Writes two logs and the feature files of KuaiRand-Pure or 1K, in `data/`."""
    draw = random.Random(seed)
    data = folder / "data"
    data.mkdir(parents=True)
    users = []
    for user in range(20):
        row: dict[str, object] = {column: draw.randint(0, 3) for column in KUAIRAND_USER}
        row.update(
            user_id=user,
            user_active_degree=draw.choice(["full_active", "high_active"]),
            is_live_streamer=draw.choice([-124, 1]),
        )
        row.update(
            follow_user_num_range=draw.choice(["(10,50]", "0"]),
            onehot_feat4=draw.choice(["", "1.0", "2.0"]),
        )
        users.append(row)
    videos = []
    for video in range(50):
        row = {column: draw.randint(0, 9) for column in KUAIRAND_VIDEO}
        row.update(
            video_id=video,
            video_type=draw.choice(["NORMAL", "AD"]),
            upload_dt="2022-04-02",
            upload_type="ShortImport",
        )
        row.update(
            tag=draw.choice(["12", "12,65", ""]), video_duration=draw.choice(["10231.0", "7000.0"])
        )
        videos.append(row)
    (data / f"user_features_{name}.csv").write_bytes(table(KUAIRAND_USER, users))
    (data / f"video_features_basic_{name}.csv").write_bytes(table(KUAIRAND_VIDEO, videos))
    (data / f"video_features_statistic_{name}.csv").write_bytes(b"video_id,counts\n0,1\n")
    for log in (f"log_random_4_22_to_5_08_{name}.csv", f"log_standard_4_08_to_4_21_{name}.csv"):
        made = []
        for _ in range(rows):
            row = {column: draw.randint(0, 1) for column in KUAIRAND_LOG}
            row.update(
                user_id=draw.randrange(20),
                video_id=draw.randrange(50),
                date=20220408,
                hourmin=1230,
                time_ms=1649390000000,
            )
            row.update(
                duration_ms=draw.randint(1000, 99_999),
                play_time_ms=draw.randint(0, 99_999),
                tab=draw.choice([0, 1, 2, 3, 4, 6]),
            )
            made.append(row)
        (data / log).write_bytes(table(KUAIRAND_LOG, made))
    return folder


def write_movielens_1m(
    folder: pathlib.Path, seed: int = 0
) -> "tuple[pathlib.Path, list[tuple[int, int, int]]]":
    """Writes the three files of MovieLens 1M; returns the folder and the ratings (user,
    item, rating).
    """
    draw = random.Random(seed)
    folder.mkdir(parents=True)
    users = [
        f"{u}::{draw.choice('FM')}::{draw.choice([1, 18, 25, 35, 45, 50, 56])}"
        f"::{draw.randint(0, 20)}::48067"
        for u in range(1, 41)
    ]
    titles = [
        "Toy Story (1995)::Animation|Children's|Comedy",
        "Amélie (2001)::Romance",
        "Heat (1995)::Film-Noir|Sci-Fi",
    ]
    movies = [f"{item}::{titles[item % 3]}" for item in range(1, 61) if item != 7]
    pairs = draw.sample([(u, i) for u in range(1, 41) for i in range(1, 61) if i != 7], 900)
    ratings = [(user, item, draw.randint(1, 5)) for user, item in pairs]
    (folder / "users.dat").write_text("\n".join(users) + "\n", encoding="latin-1")
    (folder / "movies.dat").write_text("\n".join(movies) + "\n", encoding="latin-1")
    (folder / "ratings.dat").write_text(
        "".join(f"{u}::{i}::{r}::978300760\n" for u, i, r in ratings)
    )
    return folder, ratings
