package standin;

import de.bwaldvogel.mongo.MongoDatabase;
import de.bwaldvogel.mongo.backend.CollectionOptions;
import de.bwaldvogel.mongo.backend.CursorRegistry;
import de.bwaldvogel.mongo.backend.Index;
import de.bwaldvogel.mongo.backend.QueryResult;
import de.bwaldvogel.mongo.backend.memory.MemoryCollection;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.exception.MongoServerError;
import java.util.Comparator;
import java.util.List;

/** A collection that chooses an index for each query, and refuses an index that conflicts with another. */
final class StandInCollection extends MemoryCollection {
    StandInCollection(MongoDatabase database, String name, CollectionOptions options, CursorRegistry cursors) {
        super(database, name, options, cursors);
    }

    @Override
    protected QueryResult queryDocuments(
            Document query, Document sort, int skip, int limit, int batchSize, Document projection) {
        Filter filter = new Filter(query);
        var best = getIndexes().stream()
                .filter(index -> index instanceof OrderedIndex ordered && ordered.covers(filter))
                .map(index -> ((OrderedIndex) index).entries().plan(filter, sort))
                .filter(Entries.Plan::isUseful)
                .max(Comparator.comparingInt(Entries.Plan::worth));
        if (best.isEmpty()) {
            return super.queryDocuments(query, sort, skip, limit, batchSize, projection);
        }
        Document left = best.get().isSorted() ? null : sort;
        return matchDocuments(query, best.get().positions(), left, skip, limit, batchSize, projection);
    }

    /** The library keeps the first index of a name and tells the caller that all is well. */
    @Override
    public void addIndex(Index<Integer> wanted) {
        for (Index<Integer> there : getIndexes()) {
            boolean sameName = there.getName().equals(wanted.getName());
            boolean sameKeys = keysOf(there).equals(keysOf(wanted));
            boolean sameOptions = there.hasSameOptions(wanted) && there.isUnique() == wanted.isUnique();
            if (sameName && !(sameKeys && sameOptions)) {
                throw conflict(86, "IndexKeySpecsConflict", "the same name", there, wanted);
            }
            if (!sameName && sameKeys) {
                throw conflict(85, "IndexOptionsConflict", "the same keys", there, wanted);
            }
        }
        super.addIndex(wanted);
    }

    /** It would cost two encodings of the document for each update. */
    @Override
    protected boolean tracksDataSize() {
        return false;
    }

    private static List<Object> keysOf(Index<Integer> index) {
        return List.copyOf(((Document) index.toIndexDescription().get("key")).entrySet());
    }

    private static MongoServerError conflict(
            int code, String name, String what, Index<Integer> there, Index<Integer> wanted) {
        return new MongoServerError(code, name, "An existing index has " + what + ": requested "
                + wanted.toIndexDescription() + ", existing " + there.toIndexDescription());
    }
}
