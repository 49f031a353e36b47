package standin;

import de.bwaldvogel.mongo.backend.IndexKey;
import de.bwaldvogel.mongo.backend.KeyValue;
import de.bwaldvogel.mongo.backend.ValueComparator;
import java.util.Comparator;
import java.util.List;

/** The order of an index's entries. Fields beyond those that the index names ascend. */
record KeyOrder(List<IndexKey> keys) implements Comparator<KeyValue> {
    /** Stands in a bound for "before", and "after", everything that begins like it. */
    enum Edge {
        BEFORE,
        AFTER
    }

    @Override
    public int compare(KeyValue left, KeyValue right) {
        int both = Math.min(left.size(), right.size());
        for (int i = 0; i < both; i++) {
            int order = compareAt(i, left.get(i), right.get(i));
            if (order != 0) {
                return order;
            }
        }
        if (left.size() > both) {
            return edge(left.get(both));
        }
        return right.size() > both ? -edge(right.get(both)) : 0;
    }

    boolean ascends(int field) {
        return field >= keys.size() || keys.get(field).isAscending();
    }

    private int compareAt(int field, Object left, Object right) {
        if (left instanceof Edge || right instanceof Edge) {
            return left == right ? 0 : left instanceof Edge ? edge(left) : -edge(right);
        }
        int order = ValueComparator.ascWithoutListHandling().compare(left, right);
        return ascends(field) ? order : -order;
    }

    private static int edge(Object value) {
        return value == Edge.BEFORE ? -1 : 1;
    }
}
