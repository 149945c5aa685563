"""The C signer against AWS's published test cases, and against botocore's signer."""

import hashlib
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import example, given
from hypothesis import strategies as st
from mu.launch._liblaunch import ffi, lib

KEY_ID = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
EMPTY = hashlib.sha256(b"").hexdigest()


def authorization(
    method: str,
    path: str,
    headers: dict[str, str],
    date: str,
    payload_hash: str,
    region: str = "us-east-1",
    service: str = "service",
) -> str:
    """Returns mu_sigv4_authorization()'s header for a request. `path` is the canonical one."""
    holder = ffi.new("mu_sigv4 **")
    made = lib.mu_sigv4_new(KEY_ID.encode(), SECRET.encode(), region.encode(), service.encode(), holder)
    assert made == lib.MU_LAUNCH_OK
    signer = ffi.gc(holder[0], lib.mu_sigv4_free)
    texts = [
        (ffi.new("char[]", k.encode()), ffi.new("char[]", v.encode())) for k, v in sorted(headers.items())
    ]
    table = ffi.new("mu_sigv4_header[]", texts)
    parts = {
        "method": ffi.new("char[]", method.encode()),
        "canonical_path": ffi.new("char[]", path.encode()),
        "headers": table,
        "header_count": len(texts),
        "payload_hash": ffi.new("char[]", payload_hash.encode()),
    }
    out = ffi.new("char[]", 1024)
    request = ffi.new("mu_sigv4_request *", parts)
    assert lib.mu_sigv4_authorization(signer, request, date.encode(), out, 1024) == lib.MU_LAUNCH_OK
    return ffi.string(out).decode()


def canonical_path(path: str) -> str:
    data = path.encode()
    out = ffi.new("char[]", 3 * len(data) + 2)
    length = lib.mu_sigv4_path(data, out)
    text = ffi.string(out).decode()
    assert length == len(text)
    return text


TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRq"
    "TflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75Y"
    "U9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9K"
    "SYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)
VANILLA = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
UNRESERVED = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FORM = {"content-type": "application/x-www-form-urlencoded"}

# AWS's "Signature Version 4 test suite", the cases without a query string: name, method, path as it stands in
# the request line, headers besides Host and X-Amz-Date, body, signature.
PUBLISHED = [
    ("get-vanilla", "GET", "/", {}, b"", VANILLA),
    (
        "get-unreserved",
        "GET",
        UNRESERVED,
        {},
        b"",
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    ("get-utf8", "GET", "/ሴ", {}, b"", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
    ("get-relative", "GET", "/example/..", {}, b"", VANILLA),
    ("get-relative-relative", "GET", "/example1/example2/../..", {}, b"", VANILLA),
    ("get-slash", "GET", "//", {}, b"", VANILLA),
    ("get-slash-dot-slash", "GET", "/./", {}, b"", VANILLA),
    (
        "get-slashes",
        "GET",
        "//example//",
        {},
        b"",
        "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
    ),
    (
        "get-slash-pointless-dot",
        "GET",
        "/./example",
        {},
        b"",
        "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5",
    ),
    (
        "get-space",
        "GET",
        "/example space/",
        {},
        b"",
        "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
    ),
    (
        "post-vanilla",
        "POST",
        "/",
        {},
        b"",
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    (
        "post-header-key-sort",
        "POST",
        "/",
        {"my-header1": "value1"},
        b"",
        "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
    ),
    (
        "post-header-value-case",
        "POST",
        "/",
        {"my-header1": "VALUE1"},
        b"",
        "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
    ),
    (
        "post-sts-header-before",
        "POST",
        "/",
        {"x-amz-security-token": TOKEN},
        b"",
        "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
    ),
    (
        "post-x-www-form-urlencoded",
        "POST",
        "/",
        FORM,
        b"Param1=value1",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "signature"),
    [p[1:] for p in PUBLISHED],
    ids=[p[0] for p in PUBLISHED],
)
def test_published_cases(method, path, headers, body, signature):
    date = "20150830T123600Z"
    headers = {"host": "example.amazonaws.com", "x-amz-date": date, **headers}
    made = authorization(method, canonical_path(path), headers, date, hashlib.sha256(body).hexdigest())
    assert made == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders={';'.join(sorted(headers))}, Signature={signature}"
    )


names = st.one_of(
    st.from_regex(
        r"(arn:aws(-cn|-us-gov)?:lambda:[a-z]{2}-[a-z]{4}-[0-9]:[0-9]{12}:function:)?[A-Za-z0-9_-]{1,40}",
        fullmatch=True,
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60),
).filter(lambda name: 0 < len(name.encode()) <= 256 and name not in (".", ".."))
regions = st.from_regex(r"[a-z]{2}(-gov|-iso)?-[a-z]{4,9}-[1-9]", fullmatch=True)
tokens = st.none() | st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=400)
dates = st.datetimes().map(lambda when: f"{when.year:04}{when:%m%dT%H%M%SZ}")
endpoints = st.sampled_from(
    [
        "https://lambda.us-east-1.amazonaws.com",
        "https://lambda.cn-north-1.amazonaws.com.cn/",
        "http://127.0.0.1:5000",
        "http://LOCALHOST:80",
        "https://[::1]:8443",
        "https://host:443/with/a//path/../and.dots/",
    ]
)


@given(names, st.binary(max_size=300), regions, tokens, dates, endpoints)
@example("name:$LATEST", b"", "us-gov-west-1", None, "20200229T000000Z", "http://[::1]:1/p%41th/%2e%2E/x")
@example("%2F/../\u2028", b"\0", "eu-west-1", "a", "19991231T235959Z", "https://h/~/-_.")
def test_like_botocore(name, body, region, token, date, endpoint):
    address = ffi.new("mu_address *")
    assert (
        lib.mu_address_make(endpoint.encode(), name.encode(), address, ffi.new("char **")) == lib.MU_LAUNCH_OK
    )
    url, host, path = (
        ffi.string(text).decode() for text in (address.url, address.host, address.canonical_path)
    )
    lib.mu_address_free(address)
    assert url.endswith(f"/2015-03-31/functions/{quote(name, safe='-._~')}/invocations")

    headers = {"content-type": "application/json", "x-amz-date": date, "x-amz-invocation-type": "Event"}
    if token is not None:
        headers["x-amz-security-token"] = token
    request = AWSRequest(method="POST", url=url, data=body, headers=headers)
    request.context["timestamp"] = date
    signer = SigV4Auth(Credentials(KEY_ID, SECRET), "lambda", region)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    signer._inject_signature_to_request(request, signer.signature(text, request))

    payload_hash = hashlib.sha256(body).hexdigest()
    ours = authorization("POST", path, {**headers, "host": host}, date, payload_hash, region, "lambda")
    assert ours == request.headers["Authorization"]


@given(st.lists(st.sampled_from(["", ".", "..", "a", "b c", "%2E", "ü", "~"]), max_size=8))
def test_paths_are_normalised_like_botocore_s(segments):
    path = "/" + "/".join(segments)
    assert canonical_path(path) == SigV4Auth(None, "lambda", "r")._normalize_url_path(path)


def new_payload(data: bytes):
    holder = ffi.new("mu_payload **")
    assert lib.mu_payload_new(data, len(data), holder) == lib.MU_LAUNCH_OK
    return ffi.gc(holder[0], lib.mu_payload_free)


@given(
    st.lists(st.sampled_from([b"##ID##", b"#", b"##", b"ID", b"x", b"##ID#", b"\0"]), max_size=12),
    st.integers(0, 2**63 - 1),
)
def test_the_first_mark_becomes_the_number(pieces, number):
    data = b"".join(pieces)
    payload = new_payload(data)
    expected = data.replace(b"##ID##", str(number).encode(), 1)
    size = lib.mu_payload_size(payload, number)
    out = ffi.new("char[]", size + 1)
    lib.mu_payload_write(payload, number, out)
    assert ffi.buffer(out, size)[:] == expected
    hashed = ffi.new("char[]", 65)
    for _ in range(2):  # state that the signer keeps between calls must not change the result
        assert lib.mu_payload_hash(payload, number, hashed) == lib.MU_LAUNCH_OK
        assert ffi.string(hashed).decode() == hashlib.sha256(expected).hexdigest()


def test_one_signer_signs_for_many_days():
    """The signer caches the signing key, which is valid for one day only."""
    holder = ffi.new("mu_sigv4 **")
    assert lib.mu_sigv4_new(KEY_ID.encode(), SECRET.encode(), b"us-east-1", b"service", holder) == 0
    signer = ffi.gc(holder[0], lib.mu_sigv4_free)
    out = ffi.new("char[]", 1024)
    for day in ["20150830", "20150831", "20150831", "20150830", "20160830"]:
        date = f"{day}T123600Z"
        value = ffi.new("char[]", date.encode())
        host = (ffi.new("char[]", b"host"), ffi.new("char[]", b"example.amazonaws.com"))
        dated = (ffi.new("char[]", b"x-amz-date"), value)
        texts = [ffi.new("char[]", text.encode()) for text in ("GET", "/", EMPTY)]
        request = ffi.new(
            "mu_sigv4_request *",
            {
                "method": texts[0],
                "canonical_path": texts[1],
                "headers": (table := ffi.new("mu_sigv4_header[]", [host, dated])),
                "header_count": len(table),
                "payload_hash": texts[2],
            },
        )
        assert lib.mu_sigv4_authorization(signer, request, value, out, 1024) == 0
        fresh = authorization("GET", "/", {"host": "example.amazonaws.com", "x-amz-date": date}, date, EMPTY)
        assert ffi.string(out).decode() == fresh
