package standin;

import de.bwaldvogel.mongo.backend.KeyValue;
import java.util.ArrayList;
import java.util.List;

/**
 * A part of an index.
 *
 * @param fixed how many of the first fields have one value
 * @param weight how much the filter narrows it: 2 for a field with given values, 1 for one with a bound
 */
record Range(KeyValue from, KeyValue to, int fixed, int weight) {
    /** More parts than this are not worth their seeks. */
    private static final int MOST = 10_000;

    static List<Range> of(List<String> fields, KeyOrder order, Filter filter) {
        List<List<Object>> prefixes = List.of(List.of());
        int fixed = 0;
        while (fixed < fields.size()) {
            List<Object> values = filter.values(fields.get(fixed));
            if (values.isEmpty() || values.size() * prefixes.size() > MOST) {
                break;
            }
            prefixes = product(prefixes, values);
            fixed++;
        }
        Filter.Bounds bounds = fixed < fields.size() ? filter.bounds(fields.get(fixed)) : Filter.Bounds.NONE;
        int weight = fixed * 2 + (bounds.isNone() ? 0 : 1);
        List<Range> ranges = new ArrayList<>();
        for (List<Object> prefix : prefixes) {
            boolean ascends = order.ascends(fixed);
            KeyValue from = bound(prefix, ascends ? bounds.lower() : bounds.upper(), KeyOrder.Edge.BEFORE);
            KeyValue to = bound(prefix, ascends ? bounds.upper() : bounds.lower(), KeyOrder.Edge.AFTER);
            ranges.add(new Range(from, to, fixed, weight));
        }
        return ranges;
    }

    private static List<List<Object>> product(List<List<Object>> prefixes, List<Object> values) {
        List<List<Object>> longer = new ArrayList<>();
        for (List<Object> prefix : prefixes) {
            for (Object value : values) {
                longer.add(Entries.with(prefix, value));
            }
        }
        return longer;
    }

    /** An inclusive bound is before, or after, all entries that have its value; an exclusive one the other way. */
    private static KeyValue bound(List<Object> prefix, Filter.Bound bound, KeyOrder.Edge side) {
        if (bound == null) {
            return new KeyValue(Entries.with(prefix, side));
        }
        KeyOrder.Edge other = side == KeyOrder.Edge.BEFORE ? KeyOrder.Edge.AFTER : KeyOrder.Edge.BEFORE;
        return new KeyValue(Entries.with(Entries.with(prefix, bound.value()), bound.inclusive() ? side : other));
    }
}
