package standin;

import de.bwaldvogel.mongo.backend.IndexKey;
import de.bwaldvogel.mongo.backend.KeyValue;
import de.bwaldvogel.mongo.bson.Document;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Set;
import java.util.Spliterator;
import java.util.Spliterators;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/** The entries of one index in their order, and the parts of them that a filter asks for. */
final class Entries {
    private final List<String> fields;
    private final KeyOrder order;
    private final NavigableMap<KeyValue, Integer> positions;

    /** `fields` are those of the entries: those of `keys` in the index's order, and perhaps one that makes it unique. */
    Entries(List<IndexKey> keys, List<String> fields) {
        this.fields = fields;
        order = new KeyOrder(keys);
        positions = new TreeMap<>(order);
    }

    Integer putIfAbsent(KeyValue key, Integer position) {
        return positions.putIfAbsent(key, position);
    }

    Integer remove(KeyValue key) {
        return positions.remove(key);
    }

    Integer get(KeyValue key) {
        return positions.get(key);
    }

    int size() {
        return positions.size();
    }

    void clear() {
        positions.clear();
    }

    Set<Map.Entry<KeyValue, Integer>> all() {
        return positions.entrySet();
    }

    /** What this index can do for a filter that is read already, and for the order that is asked for (or null). */
    Plan plan(Filter filter, Document sort) {
        List<Range> ranges = Range.of(fields, order, filter);
        int fixed = ranges.size() == 1 ? ranges.get(0).fixed() : 0;
        return new Plan(this, ranges, direction(sort, ranges.size() == 1, fixed));
    }

    /**
     * The position of the first entry with each value of the field behind these, by one seek for each: MongoDB's
     * distinct scan. Null if the entries are in another order than that.
     */
    List<Integer> firstOfEach(Map<String, Object> given, String field) {
        int fixed = given.size();
        if (fixed >= fields.size() || !given.keySet().equals(Set.copyOf(fields.subList(0, fixed)))
                || !fields.get(fixed).equals(field)) {
            return null;
        }
        List<Object> prefix = fields.subList(0, fixed).stream().map(given::get).collect(Collectors.toList());
        KeyValue to = new KeyValue(with(prefix, KeyOrder.Edge.AFTER));
        KeyValue from = new KeyValue(with(prefix, KeyOrder.Edge.BEFORE));
        List<Integer> found = new ArrayList<>();
        while (true) {
            Map.Entry<KeyValue, Integer> next = positions.ceilingEntry(from);
            if (next == null || order.compare(next.getKey(), to) > 0) {
                return found;
            }
            found.add(next.getValue());
            from = new KeyValue(with(with(prefix, next.getKey().get(fixed)), KeyOrder.Edge.AFTER));
        }
    }

    static List<Object> with(List<Object> values, Object value) {
        List<Object> longer = new ArrayList<>(values);
        longer.add(value);
        return longer;
    }

    /** 1 if the entries stand in the order that is asked for, -1 if in its reverse, else 0. */
    private int direction(Document sort, boolean oneRange, int fixed) {
        if (sort == null || sort.isEmpty() || !oneRange) {
            return 0;
        }
        int direction = 0;
        int next = fixed;
        for (var wanted : sort.entrySet()) {
            if (fields.subList(0, fixed).contains(wanted.getKey())) {
                continue;
            }
            if (next == fields.size() || !fields.get(next).equals(wanted.getKey())) {
                return 0;
            }
            boolean ascends = wanted.getValue() instanceof Number number && number.intValue() > 0;
            int here = ascends == order.ascends(next) ? 1 : -1;
            if (direction != 0 && direction != here) {
                return 0;
            }
            direction = here;
            next++;
        }
        return direction == 0 ? 1 : direction;
    }

    /** The positions of the documents to look at, each once, read only as far as somebody asks. */
    record Plan(Entries entries, List<Range> ranges, int direction) {
        Iterable<Integer> positions() {
            // One range is read as its entries are asked for; flatMap would gather them all first.
            Stream<Integer> stream = ranges.size() == 1 ? read(ranges.get(0)) : ranges.stream().flatMap(this::read);
            return stream.distinct()::iterator;
        }

        boolean isSorted() {
            return direction != 0;
        }

        boolean isUseful() {
            return isSorted() || ranges.get(0).weight() > 0;
        }

        /** A narrower part is better, and of two that are as narrow the one in the right order. */
        int worth() {
            return ranges.get(0).weight() * 2 + Math.abs(direction);
        }

        private Stream<Integer> read(Range range) {
            if (entries.order.compare(range.from(), range.to()) >= 0) {
                return Stream.of();
            }
            NavigableMap<KeyValue, Integer> part = entries.positions.subMap(range.from(), true, range.to(), true);
            var each = (direction < 0 ? part.descendingMap() : part).values().iterator();
            // The stream of a part of a TreeMap would first count it, entry by entry.
            return StreamSupport.stream(Spliterators.spliteratorUnknownSize(each, Spliterator.ORDERED), false);
        }
    }
}
