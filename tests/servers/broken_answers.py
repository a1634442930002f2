"""Responses that must not pass for good ones, as the bytes a server would send before it closes.

Grouped by what is wrong with them, so that a test can say what it expects of a whole group.
"""

from __future__ import annotations

import gzip

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

# Cut off by a close.
CUT_HEADERS = {
    "closed_in_status_line": b"HTTP/1.1 2",
    "closed_after_status_line": OK,
    "closed_in_field_name": OK + b"Content-Le",
    "closed_in_field_value": OK + b"Content-Length: 1",
    "closed_after_a_field": OK + b"Content-Type: text/plain\r\n",
    "closed_after_content_length": OK + b"Content-Length: 0\r\n",
    "closed_after_chunked": OK + b"Transfer-Encoding: chunked\r\n",
    "closed_after_connection_close": OK + b"Connection: close\r\n",
    "closed_inside_the_blank_line": OK + b"Content-Type: text/plain\r\n\r",
    "closed_after_an_interim_response": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    "closed_in_the_final_header_block": b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK + b"Server: x\r\n",
    "closed_in_a_no_content_header_block": b"HTTP/1.1 204 No Content\r\nServ",
    "closed_in_a_not_modified_header_block": b"HTTP/1.1 304 Not Modified\r\nETag: 1\r\n",
}
CUT_BODIES = {
    "closed_before_content_length": OK + b"Content-Length: 10\r\n\r\n12345",
    "closed_before_a_huge_content_length": OK + b"Content-Length: 9223372036854775807\r\n\r\n12345",
    "closed_without_any_of_the_body": OK + b"Content-Length: 10\r\n\r\n",
    "closed_without_any_chunk": CHUNKED,
    "closed_without_last_chunk": CHUNKED + b"5\r\n12345\r\n",
    "closed_inside_a_chunk": CHUNKED + b"5\r\n123",
    "closed_inside_the_last_chunk_line": CHUNKED + b"5\r\n12345\r\n0",
    "closed_before_the_end_of_trailers": CHUNKED + b"5\r\n12345\r\n0\r\nX-Sum: 1\r\n",
}
# Framing that breaks RFC 9112.
BAD_FRAMING = {
    "chunk_size_is_not_hex": CHUNKED + b"zz\r\n12345\r\n0\r\n\r\n",
    "chunk_size_is_empty": CHUNKED + b"\r\n12345\r\n0\r\n\r\n",
    "chunk_size_is_negative": CHUNKED + b"-5\r\n12345\r\n0\r\n\r\n",
    "chunk_size_overflows": CHUNKED + b"FFFFFFFFFFFFFFFFF\r\n12345\r\n0\r\n\r\n",
    "chunk_without_crlf": CHUNKED + b"5\r\n12345XX0\r\n\r\n",
    "content_lengths_differ": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
    "content_lengths_differ_in_one_field": OK + b"Content-Length: 5, 6\r\n\r\n12345",
    "content_length_is_negative": OK + b"Content-Length: -5\r\n\r\n12345",
    "content_length_overflows": OK + b"Content-Length: 99999999999999999999\r\n\r\n12345",
    "content_length_is_not_a_number": OK + b"Content-Length: five\r\n\r\n12345",
}
NOT_HTTP = {
    "speaks_ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "speaks_http_0_9": b"<html>hello</html>\r\n",
    "speaks_zeros": bytes(4096),
    "speaks_a_version_from_the_future": b"HTTP/7.3 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status_is_not_a_number": b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
    "field_with_nul": OK + b"X-Bad: a\0b\r\nContent-Length: 0\r\n\r\n",
    "field_without_colon": OK + b"no colon here\r\nContent-Length: 0\r\n\r\n",
}
SQUEEZED = gzip.compress(b"squeezed" * 100)


def encoded(body: bytes, coding: str) -> bytes:
    return OK + f"Content-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


BAD_CODING = {
    "gzip_is_truncated": encoded(SQUEEZED[:-12], "gzip"),
    "gzip_with_wrong_checksum": encoded(SQUEEZED[:-8] + bytes(8), "gzip"),
    "plain_text_called_gzip": encoded(b"plain text", "gzip"),
    "plain_text_called_br": encoded(b"plain text, not br. " * 50, "br"),
    "ten_codings_stacked": encoded(SQUEEZED, ", ".join(["gzip"] * 10)),
}
ANSWERS = CUT_HEADERS | CUT_BODIES | BAD_FRAMING | NOT_HTTP | BAD_CODING
