package standin;

import de.bwaldvogel.mongo.backend.KeyValue;
import de.bwaldvogel.mongo.bson.BsonRegularExpression;
import de.bwaldvogel.mongo.bson.Document;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Collectors;

/**
 * What a query's filter says of single fields, at its top or in an `$and`.
 *
 * <p>It may say less than the filter does, for the whole filter is checked on every document that an index finds.
 */
final class Filter {
    private final Map<String, List<Object>> conditions = new HashMap<>();
    /** Whether the conditions are all that the filter says. */
    private boolean isWhole = true;

    Filter(Document query) {
        read(query);
    }

    /** The only values that the field can have; none if the filter leaves them open. */
    List<Object> values(String field) {
        for (Object condition : conditions.getOrDefault(field, List.of())) {
            if (isValue(condition)) {
                return Collections.singletonList(normal(condition));
            }
            if (condition instanceof Document operators) {
                if (operators.containsKey("$eq") && isValue(operators.get("$eq"))) {
                    return Collections.singletonList(normal(operators.get("$eq")));
                }
                if (operators.get("$in") instanceof Collection<?> in && in.stream().allMatch(Filter::isValue)) {
                    return in.stream().map(Filter::normal).distinct().collect(Collectors.toList());
                }
            }
        }
        return List.of();
    }

    /** The fields with the one value that each must have, if that is all the filter says; else null. */
    Map<String, Object> onlyValues() {
        Map<String, Object> only = new HashMap<>();
        for (Map.Entry<String, List<Object>> entry : conditions.entrySet()) {
            List<Object> of = entry.getValue();
            if (!isWhole || of.size() != 1 || !isValue(of.get(0))) {
                return null;
            }
            only.put(entry.getKey(), normal(of.get(0)));
        }
        return only;
    }

    /** The bounds of the field's value. */
    Bounds bounds(String field) {
        Bound lower = null;
        Bound upper = null;
        for (Object condition : conditions.getOrDefault(field, List.of())) {
            if (condition instanceof Document operators) {
                for (Map.Entry<String, Object> entry : operators.entrySet()) {
                    if (!isValue(entry.getValue()) || entry.getValue() == null) {
                        continue;
                    }
                    Object value = normal(entry.getValue());
                    switch (entry.getKey()) {
                        case "$gt" -> lower = new Bound(value, false);
                        case "$gte" -> lower = new Bound(value, true);
                        case "$lt" -> upper = new Bound(value, false);
                        case "$lte" -> upper = new Bound(value, true);
                        default -> {}
                    }
                }
            }
        }
        return new Bounds(lower, upper);
    }

    /** Whether every document that the filter lets through has the field, and not as null. */
    boolean needs(String field) {
        List<Object> values = values(field);
        return values.isEmpty() ? !bounds(field).isNone() : values.stream().noneMatch(Objects::isNull);
    }

    record Bound(Object value, boolean inclusive) {}

    record Bounds(Bound lower, Bound upper) {
        static final Bounds NONE = new Bounds(null, null);

        boolean isNone() {
            return lower == null && upper == null;
        }
    }

    private void read(Document query) {
        for (Map.Entry<String, Object> entry : query.entrySet()) {
            if (entry.getKey().equals("$and") && entry.getValue() instanceof Collection<?> parts) {
                parts.forEach(part -> read((Document) part));
            } else if (entry.getKey().startsWith("$")) {
                isWhole = false;
            } else {
                conditions.computeIfAbsent(entry.getKey(), key -> new ArrayList<>()).add(entry.getValue());
            }
        }
    }

    private static boolean isValue(Object value) {
        return !(value instanceof Map || value instanceof Collection || value instanceof BsonRegularExpression);
    }

    /** The value as indexes hold it: all numbers are of one kind. */
    private static Object normal(Object value) {
        return new KeyValue(value).normalized().get(0);
    }
}
