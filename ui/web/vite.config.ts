import { readFileSync } from "node:fs";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** Writes `.br` and `.gz` beside every file worth it, so that peers compress nothing while they serve. */
function compressed(): Plugin {
  const enough = 1024;
  return {
    name: "compressed",
    apply: "build",
    enforce: "post",
    generateBundle(_options, bundle) {
      const emit = (fileName: string, content: string | Uint8Array) => {
        const bytes = Buffer.from(content);
        if (bytes.length < enough || !/\.(js|css|html|svg|json)$/.test(fileName)) {
          return;
        }
        const brotli = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
        this.emitFile({ type: "asset", fileName: `${fileName}.br`, source: brotli });
        this.emitFile({ type: "asset", fileName: `${fileName}.gz`, source: gzipSync(bytes, { level: 9 }) });
      };
      for (const [fileName, file] of Object.entries(bundle)) {
        emit(fileName, file.type === "chunk" ? file.code : file.source);
      }
    },
  };
}

/** For `npm run dev`: a peer to develop against. */
const peer = process.env["RSCALER_API"]?.split(",")[0] ?? "http://127.0.0.1:7700";

export default defineConfig({
  plugins: [react(), compressed()],
  build: { emptyOutDir: true, target: "es2023", chunkSizeWarningLimit: 800, assetsInlineLimit: 0 },
  define: { __VERSION__: JSON.stringify(JSON.parse(readFileSync("package.json", "utf8")).version ?? "") },
  server: { proxy: { "/api": { target: peer }, "/readyz": { target: peer } } },
  test: { include: ["src/**/*.test.ts"] },
});
