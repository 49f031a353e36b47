package standin;

import de.bwaldvogel.mongo.backend.CollectionOptions;
import de.bwaldvogel.mongo.backend.CursorRegistry;
import de.bwaldvogel.mongo.backend.DatabaseResolver;
import de.bwaldvogel.mongo.backend.Index;
import de.bwaldvogel.mongo.backend.IndexKey;
import de.bwaldvogel.mongo.backend.memory.MemoryDatabase;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.oplog.Oplog;
import io.netty.channel.Channel;
import java.util.List;

/**
 * A database whose commands run one after the other.
 *
 * <p>The library hands out the very documents that it changes in place, so that a reply could be written to the
 * network while an update changes it. Here a reply is a copy, made before the next command begins.
 */
final class StandInDatabase extends MemoryDatabase {
    StandInDatabase(String name, CursorRegistry cursors) {
        super(name, cursors);
    }

    @Override
    public synchronized Document handleCommand(
            Channel channel, String command, Document query, DatabaseResolver databases, Oplog oplog) {
        Document reply = super.handleCommand(channel, command, query, databases, oplog);
        switch (command) {
            case "find", "findAndModify", "aggregate" -> {
                return reply.cloneDeeply();
            }
            case "insert" -> countOnlyInserted(query, reply);
            default -> {}
        }
        return reply;
    }

    @Override
    protected StandInCollection openOrCreateCollection(String name, CollectionOptions options) {
        return new StandInCollection(this, name, options, cursorRegistry);
    }

    @Override
    protected Index<Integer> openOrCreateUniqueIndex(
            String collection, String name, List<IndexKey> keys, boolean sparse) {
        return new UniqueIndex(name, keys, sparse);
    }

    @Override
    protected Index<Integer> openOrCreateSecondaryIndex(
            String collection, String name, List<IndexKey> keys, boolean sparse) {
        return new PlainIndex(name, keys, sparse);
    }

    /** The library counts the documents that it was given, refused ones too. */
    private static void countOnlyInserted(Document query, Document reply) {
        if (reply.get("writeErrors") instanceof List<?> errors && !errors.isEmpty()) {
            int sent = ((List<?>) query.get("documents")).size();
            boolean ordered = Boolean.TRUE.equals(query.getOrDefault("ordered", true));
            int first = ((Number) ((Document) errors.get(0)).get("index")).intValue();
            reply.put("n", ordered ? first : sent - errors.size());
        }
    }
}
