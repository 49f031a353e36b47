package standin;

import de.bwaldvogel.mongo.MongoServer;
import java.net.InetSocketAddress;

/** Listens on 127.0.0.1 at the port that is the only argument (0 or none: a free one), and prints its URL. */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) {
        int port = arguments.length > 0 ? Integer.parseInt(arguments[0]) : 0;
        MongoServer server = new MongoServer(new StandInBackend());
        server.bind(new InetSocketAddress("127.0.0.1", port));
        System.out.println("mongodb://127.0.0.1:" + server.getLocalAddress().getPort());
    }
}
