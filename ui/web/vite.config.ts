import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** Files smaller than this are sent as they are. */
const ENOUGH_BYTES = 1024;

/** Writes `.br` and `.gz` beside every file worth it, so that peers compress nothing while they serve. */
function compressed(): Plugin {
  return {
    name: "compressed",
    apply: "build",
    // Once all other plugins have had their way with the files.
    writeBundle({ dir = "dist" }, bundle) {
      for (const name of Object.keys(bundle).filter((name) => /\.(js|css|html|svg|json)$/.test(name))) {
        const bytes = readFileSync(join(dir, name));
        if (bytes.length >= ENOUGH_BYTES) {
          const best = { params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY } };
          writeFileSync(join(dir, `${name}.br`), brotliCompressSync(bytes, best));
          writeFileSync(join(dir, `${name}.gz`), gzipSync(bytes, { level: 9 }));
        }
      }
    },
  };
}

/** For `npm run dev`: a peer to develop against. */
const peer = process.env["RSCALER_API"]?.split(",")[0] ?? "http://127.0.0.1:7700";

export default defineConfig({
  plugins: [react(), compressed()],
  build: { emptyOutDir: true, target: "es2023", chunkSizeWarningLimit: 800, assetsInlineLimit: 0 },
  server: { proxy: { "/api": { target: peer }, "/readyz": { target: peer } } },
  test: { include: ["src/**/*.test.ts"] },
});
