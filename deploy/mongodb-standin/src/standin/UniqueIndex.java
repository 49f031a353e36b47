package standin;

import de.bwaldvogel.mongo.backend.AbstractUniqueIndex;
import de.bwaldvogel.mongo.backend.IndexKey;
import de.bwaldvogel.mongo.backend.KeyValue;
import de.bwaldvogel.mongo.bson.Document;
import java.util.List;
import java.util.Map;

/** A unique index. As in the library, a missing field counts as null. */
final class UniqueIndex extends AbstractUniqueIndex<Integer> implements OrderedIndex {
    private final Entries entries;

    UniqueIndex(String name, List<IndexKey> keys, boolean sparse) {
        super(name, keys, sparse);
        entries = new Entries(keys, keys());
    }

    @Override
    public Entries entries() {
        return entries;
    }

    @Override
    public boolean covers(Filter filter) {
        return !isSparse() || filter.needs(keys().get(0));
    }

    /** {@link StandInCollection} chooses the index; the library would take one for fewer filters. */
    @Override
    public boolean canHandle(Document query) {
        return false;
    }

    @Override
    public boolean isUnique() {
        return true;
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
    protected boolean putKeyPosition(KeyValue key, Integer position) {
        return entries.putIfAbsent(key, position) == null;
    }

    @Override
    protected Integer getPosition(KeyValue key) {
        return entries.get(key);
    }

    @Override
    protected Integer removeDocument(KeyValue key) {
        return entries.remove(key);
    }

    @Override
    protected Iterable<Map.Entry<KeyValue, Integer>> getIterable() {
        return entries.all();
    }
}
