package standin;

import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.bson.Document;
import io.netty.channel.Channel;
import java.util.List;

/** The library's memory backend, as a version that drivers of today accept, with the faults that we met mended. */
final class StandInBackend extends MemoryBackend {
    StandInBackend() {
        version(new Version());
    }

    @Override
    public StandInDatabase openOrCreateDatabase(String name) {
        return new StandInDatabase(name, getCursorRegistry());
    }

    /** The library knows `hello` by its old name alone. */
    @Override
    public Document handleCommand(Channel channel, String database, String command, Document query) {
        if (!command.equalsIgnoreCase("hello")) {
            return super.handleCommand(channel, database, command, query);
        }
        Document reply = super.handleCommand(channel, database, "ismaster", query);
        reply.remove("ismaster");
        return reply.append("isWritablePrimary", true);
    }

    /** Later batches are copies, made under the lock that writers hold, as the first one is. */
    @Override
    protected Document handleGetMore(String database, String command, Document query) {
        synchronized (resolveDatabase(database)) {
            return super.handleGetMore(database, command, query).cloneDeeply();
        }
    }

    /** MongoDB 4.4, the oldest that the Rust driver speaks with. */
    private static final class Version implements MongoVersion {
        @Override
        public List<Integer> getVersionArray() {
            return List.of(4, 4, 0);
        }

        @Override
        public int getWireVersion() {
            return 9;
        }
    }
}
