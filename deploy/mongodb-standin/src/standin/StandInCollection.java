package standin;

import de.bwaldvogel.mongo.MongoDatabase;
import de.bwaldvogel.mongo.backend.CollectionOptions;
import de.bwaldvogel.mongo.backend.CursorRegistry;
import de.bwaldvogel.mongo.backend.Index;
import de.bwaldvogel.mongo.backend.Missing;
import de.bwaldvogel.mongo.backend.QueryResult;
import de.bwaldvogel.mongo.backend.Utils;
import de.bwaldvogel.mongo.backend.memory.MemoryCollection;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.exception.MongoServerError;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

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

    /** The library would look at every document. */
    @Override
    public synchronized Document handleDistinct(Document command) {
        Filter filter = new Filter((Document) command.getOrDefault("query", new Document()));
        Map<String, Object> given = filter.onlyValues();
        String field = (String) command.get("key");
        if (given == null || field.contains(".")) {
            return super.handleDistinct(command);
        }
        for (Index<Integer> index : getIndexes()) {
            if (index instanceof OrderedIndex ordered && ordered.covers(filter)) {
                List<Integer> first = ordered.entries().firstOfEach(given, field);
                if (first != null) {
                    return distinct(first, field);
                }
            }
        }
        return super.handleDistinct(command);
    }

    private Document distinct(List<Integer> positions, String field) {
        Set<Object> values = new LinkedHashSet<>();
        for (Integer position : positions) {
            Object value = getDocument(position).getOrMissing(field);
            if (value instanceof Collection<?> several) {
                values.addAll(several);
            } else if (!(value instanceof Missing)) {
                values.add(value);
            }
        }
        Document answer = new Document("values", new ArrayList<>(values));
        Utils.markOkay(answer);
        return answer;
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
