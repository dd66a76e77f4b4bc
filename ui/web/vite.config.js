import { defineConfig } from "vite";

// Assets are named by their content, so that they can be cached for ever; paths are relative.
export default defineConfig({ base: "./", build: { emptyOutDir: true } });
