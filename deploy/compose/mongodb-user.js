// Run once by the image, on an empty data folder: the user that Gristmill is, who may use one database and look at
// how the server fares.
const password = require("fs").readFileSync("/run/secrets/mongodb_password", "utf8").trim();
db.getSiblingDB("admin").createUser({
  user: "gristmill",
  pwd: password,
  roles: [
    { role: "readWrite", db: "gristmill" },
    { role: "dbAdmin", db: "gristmill" },
    { role: "clusterMonitor", db: "admin" },
  ],
});
