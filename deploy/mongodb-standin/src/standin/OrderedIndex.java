package standin;

/** An index whose entries stand in order, which the library knows nothing of. */
interface OrderedIndex {
    Entries entries();

    /** Whether everything that the filter lets through has an entry. A sparse index lacks some documents. */
    boolean covers(Filter filter);
}
