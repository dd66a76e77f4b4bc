package rscaler;

import java.lang.reflect.Array;
import java.util.Collection;
import java.util.Date;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import javax.management.ObjectName;
import javax.management.openmbean.CompositeData;
import javax.management.openmbean.TabularData;

/** What attributes hold: as a number, as a part, and as JSON. */
final class Values {
    private static final int DEPTH_MAX = 8;
    private static final int ITEMS_MAX = 64;
    private static final int TEXT_CHARS_MAX = 4096;
    private static final int JSON_CHARS_MAX = 64 << 10;

    private Values() {}

    /** Follows a key into composite and tabular data. Where a name has dots itself, the longest that fits counts. */
    static Object part(Object value, String key) throws Fault {
        if (key.isEmpty()) {
            return value;
        }
        if (value == null) {
            throw new Fault(Fault.NOT_A_NUMBER, "it is null");
        }
        for (int end = key.length(); end > 0; end = key.lastIndexOf('.', end - 1)) {
            String first = key.substring(0, end);
            String rest = end == key.length() ? "" : key.substring(end + 1);
            Object inner = value instanceof CompositeData ? item((CompositeData) value, first)
                    : value instanceof TabularData ? row((TabularData) value, first)
                    : value instanceof Map ? ((Map<?, ?>) value).get(first)
                    : value.getClass().isArray() || value instanceof List ? element(value, first) : null;
            if (inner != null) {
                return part(inner, rest);
            }
        }
        if (value instanceof CompositeData) {
            CompositeData data = (CompositeData) value;
            String missing = data.containsKey(key) ? "is null" : "is not there: there are " + data.getCompositeType().keySet();
            throw new Fault(data.containsKey(key) ? Fault.NOT_A_NUMBER : Fault.MISSING, "key `" + key + "` " + missing);
        }
        if (value instanceof TabularData) {
            throw new Fault(Fault.MISSING, "row `" + key + "` is not there: there are " + rows((TabularData) value));
        }
        throw new Fault(Fault.MISSING, "there is no key `" + key + "` in a " + value.getClass().getName());
    }

    private static Object item(CompositeData data, String key) {
        return data.containsKey(key) ? data.get(key) : null;
    }

    private static Object element(Object list, String key) {
        try {
            int at = Integer.parseInt(key);
            return list instanceof List ? ((List<?>) list).get(at) : Array.get(list, at);
        } catch (RuntimeException none) {
            return null;
        }
    }

    private static Object row(TabularData data, String key) {
        for (Object index : data.keySet()) {
            if (key.equals(index((List<?>) index))) {
                CompositeData row = data.get(((List<?>) index).toArray());
                // A map is told as rows of `key` and `value`.
                boolean map = row.getCompositeType().keySet().size() == 2 && row.containsKey("key") && row.containsKey("value");
                return map ? row.get("value") : row;
            }
        }
        return null;
    }

    private static String index(List<?> index) {
        StringBuilder text = new StringBuilder();
        for (Object one : index) {
            text.append(text.length() > 0 ? "," : "").append(one);
        }
        return text.toString();
    }

    private static TreeSet<String> rows(TabularData data) {
        TreeSet<String> rows = new TreeSet<String>();
        for (Object index : data.keySet()) {
            rows.add(index((List<?>) index));
        }
        return rows;
    }

    static Double number(Object value) throws Fault {
        if (value instanceof Number) {
            return ((Number) value).doubleValue();
        }
        if (value instanceof Boolean) {
            return (Boolean) value ? 1.0 : 0.0;
        }
        if (value instanceof Date) {
            return (double) ((Date) value).getTime();
        }
        if (value == null) {
            throw new Fault(Fault.NOT_A_NUMBER, "it is null");
        }
        if (value instanceof String || value instanceof Character) {
            String text = value.toString().trim();
            if (text.equals("true") || text.equals("false")) {
                return text.equals("true") ? 1.0 : 0.0;
            }
            try {
                return Double.valueOf(text);
            } catch (NumberFormatException none) {
                String shown = text.length() > 60 ? text.substring(0, 60) + "..." : text;
                throw new Fault(Fault.NOT_A_NUMBER, "it is no number but text: \"" + shown + "\"");
            }
        }
        String hint = value instanceof CompositeData ? ": name one of its keys, " + ((CompositeData) value).getCompositeType().keySet()
                : value instanceof TabularData ? ": name one of its rows, " + rows((TabularData) value) : "";
        throw new Fault(Fault.NOT_A_NUMBER, "it is no number but a " + value.getClass().getName() + hint);
    }

    /** A value as JSON: bounded in depth and size, whatever it is. */
    static void json(Object value, StringBuilder out) {
        int begin = out.length();
        json(value, out, 0, begin + JSON_CHARS_MAX);
        if (out.length() > begin + JSON_CHARS_MAX * 2) {
            out.setLength(begin);
            text("(more than is shown)", out);
        }
    }

    private static void json(Object value, StringBuilder out, int depth, int limit) {
        if (value == null) {
            out.append("null");
        } else if (value instanceof Boolean || value instanceof Integer || value instanceof Long || value instanceof Short || value instanceof Byte) {
            out.append(value);
        } else if (value instanceof Double || value instanceof Float) {
            double number = ((Number) value).doubleValue();
            if (Double.isNaN(number) || Double.isInfinite(number)) {
                text(value.toString(), out);
            } else {
                out.append(value);
            }
        } else if (depth > DEPTH_MAX || out.length() > limit) {
            text("...", out);
        } else if (value instanceof CompositeData) {
            CompositeData data = (CompositeData) value;
            String separator = "{";
            for (String key : data.getCompositeType().keySet()) {
                out.append(separator);
                text(key, out);
                out.append(':');
                json(data.get(key), out, depth + 1, limit);
                separator = ",";
            }
            out.append(separator.equals("{") ? "{}" : "}");
        } else if (value instanceof TabularData) {
            TabularData data = (TabularData) value;
            String separator = "{";
            int number = 0;
            for (String key : rows(data)) {
                if (number++ == ITEMS_MAX) {
                    break;
                }
                out.append(separator);
                text(key, out);
                out.append(':');
                json(row(data, key), out, depth + 1, limit);
                separator = ",";
            }
            out.append(separator.equals("{") ? "{}" : "}");
        } else if (value.getClass().isArray()) {
            int length = Array.getLength(value);
            out.append('[');
            for (int i = 0; i < length && i < ITEMS_MAX; i++) {
                out.append(i > 0 ? "," : "");
                json(Array.get(value, i), out, depth + 1, limit);
            }
            if (length > ITEMS_MAX) {
                text("(" + (length - ITEMS_MAX) + " more)", out.append(','));
            }
            out.append(']');
        } else if (value instanceof Collection) {
            json(((Collection<?>) value).toArray(), out, depth, limit);
        } else if (value instanceof Map) {
            String separator = "{";
            for (Map.Entry<?, ?> entry : ((Map<?, ?>) value).entrySet()) {
                out.append(separator);
                text(String.valueOf(entry.getKey()), out);
                out.append(':');
                json(entry.getValue(), out, depth + 1, limit);
                separator = ",";
            }
            out.append(separator.equals("{") ? "{}" : "}");
        } else {
            text(value instanceof ObjectName ? ((ObjectName) value).getCanonicalName() : String.valueOf(value), out);
        }
    }

    static void text(String text, StringBuilder out) {
        String said = text == null ? "" : text.length() > TEXT_CHARS_MAX ? text.substring(0, TEXT_CHARS_MAX) + "..." : text;
        out.append('"');
        for (int i = 0; i < said.length(); i++) {
            char c = said.charAt(i);
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < 0x20 || Character.isSurrogate(c)) {
                // A surrogate without its other half is no text.
                boolean pair = Character.isHighSurrogate(c) && i + 1 < said.length() && Character.isLowSurrogate(said.charAt(i + 1));
                if (pair) {
                    out.append(c).append(said.charAt(++i));
                } else {
                    out.append(c < 0x20 ? String.format("\\u%04x", (int) c) : "\ufffd");
                }
            } else {
                out.append(c);
            }
        }
        out.append('"');
    }
}
