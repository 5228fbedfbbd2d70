import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** JobDocument as protobuf, and JSON, without a library; any library for them can stand in the place of this. */
final class Document {
	private Document() {
	}

	/** proto/certq/v1/job.proto, "name:number:type"; a type is int, text, bytes, or an enum's or a message's name here. */
	private static final Map<String, String> MESSAGES = Map.of("job",
			"version:1:int tenant:2:text audience:3:text idempotency_key:4:text not_before_s:5:int not_after_s:6:int "
					+ "correlation_id:7:text issue:10:issue rewrap:11:rewrap revoke:12:revoke chain:13:chain",
			"holder", "user_id:1:text upn:2:text email:3:text sid:4:text device_id:5:text",
			"device_key", "spki:1:bytes certificate_chain:2:bytes seal:3:Seal",
			"san", "type:1:Alt value:2:text",
			"issue", "holder:1:holder device_key:2:device_key ca_profile:3:text key_type:4:Key subject:5:text san:6:san "
					+ "sid_form:7:Sid eku:8:text key_usage:9:int validity_s:10:int smime_capabilities:11:int "
					+ "pfx_profile:12:Pfx renew_percent:13:int template:14:text",
			"password", "key_id:1:bytes sha256:2:bytes",
			"rewrap", "holder:1:holder device_key:2:device_key record_id:3:text purpose:4:text pfx_sha256:5:bytes "
					+ "padding:6:Padding binding:7:int passwords:8:password",
			"revoke", "ca_profile:1:text issuer:2:bytes serial:3:bytes reason:4:int",
			"chain", "ca_profile:1:text");
	private static final Map<String, Map<String, Long>> ENUMS = Map.of(
			"Seal", Map.of("cms-auth", 1L, "oaep-sha256", 2L, "windows", 3L),
			"Pfx", Map.of("modern", 1L, "compat", 2L),
			"Key", Map.of("rsa-2048", 1L, "rsa-3072", 2L, "rsa-4096", 3L, "ec-p256", 4L, "ec-p384", 5L),
			"Sid", Map.of("none", 0L, "extension", 1L, "uri", 2L),
			"Alt", Map.of("email", 1L, "dns", 2L, "uri", 3L, "ip", 4L, "upn", 5L),
			"Padding", Map.of("oaep-sha256", 3L, "oaep-sha384", 4L, "oaep-sha512", 5L));

	private static void varint(ByteArrayOutputStream to, long number) {
		for (; (number & ~0x7fL) != 0; number >>>= 7) {
			to.write((int) (number & 0x7f | 0x80));
		}
		to.write((int) number);
	}

	private static void field(ByteArrayOutputStream to, long number, String kind, Object value) {
		if (ENUMS.containsKey(kind)) {
			value = ENUMS.get(kind).get(value);
		}
		if (value instanceof Boolean yes) {
			value = yes ? 1L : 0L;
		}
		if (value instanceof Long whole) {
			varint(to, number << 3);
			varint(to, whole);
			return;
		}
		byte[] data = value instanceof Map<?, ?> message ? encode(kind, message)
				: kind.equals("bytes") ? Base64.getDecoder().decode((String) value)
				: ((String) value).getBytes(StandardCharsets.UTF_8);
		varint(to, number << 3 | 2);
		varint(to, data.length);
		to.writeBytes(data);
	}

	/** Fields ascending; a default value (0, false, "") is not written, a message and a list's item always is. */
	static byte[] encode(String message, Map<?, ?> values) {
		ByteArrayOutputStream to = new ByteArrayOutputStream();
		for (String row : MESSAGES.get(message).split(" ")) {
			String[] part = row.split(":");
			Object value = values.get(part[0]);
			if (value instanceof List<?> list) {
				list.forEach(item -> field(to, Long.parseLong(part[1]), part[2], item));
			} else if (value != null && !value.equals("") && !value.equals(0L) && !value.equals(false)) {
				field(to, Long.parseLong(part[1]), part[2], value);
			}
		}
		return to.toByteArray();
	}

	/** JSON to Map, List, String, Long (Double with a fraction), Boolean and null. */
	static Map<?, ?> parse(String text) {
		return (Map<?, ?>) new Reader(text).value();
	}

	private static final class Reader {
		private final String text;
		private int at;

		Reader(String text) {
			this.text = text;
		}

		private char next() {
			while (Character.isWhitespace(text.charAt(at))) {
				at++;
			}
			return text.charAt(at);
		}

		private void take(char c) {
			if (next() != c) {
				throw new IllegalArgumentException("JSON: " + c + " is expected at " + at);
			}
			at++;
		}

		Object value() {
			switch (next()) {
			case '{':
				Map<String, Object> map = new LinkedHashMap<>();
				for (take('{'); next() != '}'; ) {
					String name = string();
					take(':');
					map.put(name, value());
					if (next() != '}') {
						take(',');
					}
				}
				take('}');
				return map;
			case '[':
				List<Object> list = new ArrayList<>();
				for (take('['); next() != ']'; ) {
					list.add(value());
					if (next() != ']') {
						take(',');
					}
				}
				take(']');
				return list;
			case '"':
				return string();
			default:
				int start = at;
				while (at < text.length() && ",]} \t\r\n".indexOf(text.charAt(at)) < 0) {
					at++;
				}
				return word(text.substring(start, at));
			}
		}

		private static Object word(String word) {
			return switch (word) {
			case "true" -> true;
			case "false" -> false;
			case "null" -> null;
			default -> word.matches("-?[0-9]+") ? (Object) Long.valueOf(word) : Double.valueOf(word);
			};
		}

		private String string() {
			StringBuilder to = new StringBuilder();
			for (take('"'); text.charAt(at) != '"'; at++) {
				char c = text.charAt(at);
				if (c != '\\') {
					to.append(c);
				} else if (text.charAt(++at) == 'u') {
					to.append((char) Integer.parseInt(text.substring(at + 1, at + 5), 16));
					at += 4;
				} else {
					int plain = "bfnrt".indexOf(text.charAt(at));
					to.append(plain < 0 ? text.charAt(at) : "\b\f\n\r\t".charAt(plain));
				}
			}
			at++;
			return to.toString();
		}
	}
}
