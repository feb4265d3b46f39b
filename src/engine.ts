import { serveEngine } from "./api/index.js";

serveEngine();
