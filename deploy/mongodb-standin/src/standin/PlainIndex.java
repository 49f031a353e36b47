package standin;

import de.bwaldvogel.mongo.MongoCollection;
import de.bwaldvogel.mongo.backend.Index;
import de.bwaldvogel.mongo.backend.IndexKey;
import de.bwaldvogel.mongo.backend.KeyValue;
import de.bwaldvogel.mongo.bson.Document;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.stream.Stream;

/** An index that is not unique. The library accepts these and does without them. */
final class PlainIndex extends Index<Integer> implements OrderedIndex {
    private final Entries entries;

    PlainIndex(String name, List<IndexKey> keys, boolean sparse) {
        super(name, keys, sparse);
        List<String> fields = new ArrayList<>(keys());
        fields.add("_id");
        entries = new Entries(keys, fields);
    }

    @Override
    public Entries entries() {
        return entries;
    }

    @Override
    public boolean covers(Filter filter) {
        return !isSparse() || filter.needs(keys().get(0));
    }

    @Override
    public boolean canHandle(Document query) {
        return false;
    }

    @Override
    public Iterable<Integer> getPositions(Document query) {
        throw new UnsupportedOperationException();
    }

    /** The index of `_id` knows it too, and sooner. */
    @Override
    public Integer getPosition(Document document) {
        return null;
    }

    @Override
    public void checkAdd(Document document, MongoCollection<Integer> collection) {}

    @Override
    public void add(Document document, Integer position, MongoCollection<Integer> collection) {
        keysOf(document).forEach(key -> entries.putIfAbsent(key, position));
    }

    @Override
    public Integer remove(Document document) {
        return keysOf(document).map(entries::remove).filter(Objects::nonNull).reduce(null, (one, other) -> other);
    }

    @Override
    public void checkUpdate(Document before, Document after, MongoCollection<Integer> collection) {}

    @Override
    public void updateInPlace(
            Document before, Document after, Integer position, MongoCollection<Integer> collection) {
        if (!nullAwareEqualsKeys(before, after)) {
            remove(before);
            add(after, position, collection);
        }
    }

    @Override
    public long getCount() {
        return entries.size();
    }

    @Override
    public long getDataSize() {
        return entries.size();
    }

    @Override
    public void drop() {
        entries.clear();
    }

    /** One entry for each element of an array, and the document's id behind it. */
    private Stream<KeyValue> keysOf(Document document) {
        Object id = new KeyValue(document.get("_id")).normalized().get(0);
        return getKeyValues(document).stream()
                .filter(key -> !isSparse() || key.stream().anyMatch(Objects::nonNull))
                .map(key -> new KeyValue(Stream.concat(key.stream(), Stream.of(id)).toList()));
    }
}
