import { Button, Modal } from "@mantine/core";
import { useState } from "react";

/** For pages whose buttons ask once more. */
export function Confirm({
  open,
  title,
  text,
  verb,
  onClose,
  onYes,
}: {
  open: boolean;
  title: string;
  text: string;
  verb: string;
  onClose: () => void;
  onYes: () => Promise<unknown>;
}) {
  const [busy, setBusy] = useState(false);
  return (
    <Modal opened={open} onClose={onClose} title={title} size="sm">
      <div className="stack">
        <p>{text}</p>
        <div className="row">
          <Button
            variant="filled"
            data-danger
            loading={busy}
            onClick={() => {
              setBusy(true);
              void onYes().finally(() => {
                setBusy(false);
                onClose();
              });
            }}
          >
            {verb}
          </Button>
          <Button onClick={onClose}>Leave it</Button>
        </div>
      </div>
    </Modal>
  );
}
