//! Files: contents that programs write again and again, and the versions that are kept.

use std::sync::Arc;

use super::config::check_expectation;
use super::{FileVersion, Notice, State};
use crate::command::{
    Effect, FILE_CHURN, FieldError, FilePut, Outcome, Rejection, RejectionKind, Reply, Stored,
};
use crate::model::{Actor, EventKind, File, Kind, Meta, Name, Object, Spec};

impl State {
    /// Puts contents, one after the other.
    pub(super) fn put_files(&mut self, index: u64, actor: &Actor, puts: &[FilePut]) -> Outcome {
        if puts.len() > FilePut::PUTS_MAX {
            return Err(State::too_many(format!("at most {} files can be put at once", FilePut::PUTS_MAX)));
        }
        Ok(Reply::Files(puts.iter().map(|put| self.put_file(index, actor, put)).collect()))
    }

    /// Puts one file's content. Nothing refers to a content, so nothing else has to be looked at.
    fn put_file(&mut self, index: u64, actor: &Actor, put: &FilePut) -> Result<Stored, Rejection> {
        let FilePut { name, file, expect } = put;
        let key = (Kind::File, name.clone());
        let now = self.globals.clock.wall;
        let row = self.objects.row_mut(&key);
        let before = row.as_ref().map(|row| &**row.value());
        check_expectation(&key, before, *expect)?;
        if file.content.len() > File::BYTES_MAX {
            return Err(too_large(name));
        }
        let Some(row) = row else {
            let meta = Meta { version: 1, uid: index, created: now, updated: now, ..Meta::default() };
            self.objects.insert(key, Object { meta, spec: Spec::File(file.clone()) });
            self.file_put(actor, name, EventKind::Created(Kind::File, name.clone()), "created");
            return Ok(Stored { effect: Effect::Created, version: 1 });
        };
        let before = row.value();
        if matches!(&before.spec, Spec::File(present) if present == file) {
            return Ok(Stored { effect: Effect::Unchanged, version: before.meta.version });
        }
        // The clock may have been set back: then a content counts as new.
        let stood_ms = i128::from(now.0) - i128::from(before.meta.updated.0);
        let has_stood = (stood_ms >= FILE_CHURN.as_millis() as i128).then(|| Arc::clone(before));
        let object = row.change();
        object.spec = Spec::File(file.clone());
        object.meta.version += 1;
        object.meta.updated = now;
        let version = object.meta.version;
        match has_stood {
            Some(before) => {
                self.keep_file_version(name, &before);
                self.file_put(actor, name, EventKind::Updated(Kind::File, name.clone()), "changed");
            }
            None => self.notify(Notice::Object(Kind::File, name.clone())),
        }
        Ok(Stored { effect: Effect::Updated, version })
    }

    fn file_put(&mut self, actor: &Actor, name: &Name, event: EventKind, did: &str) {
        self.record(actor.clone(), event, format!("file `{name}` was {did}"));
        self.notify(Notice::Object(Kind::File, name.clone()));
    }

    /// Keeps the content of a file that is about to be replaced; nothing for other objects.
    pub(super) fn keep_file_version(&mut self, name: &Name, before: &Object) {
        let Spec::File(file) = &before.spec else { return };
        let version = FileVersion { at: before.meta.updated, content: Arc::clone(&file.content) };
        self.file_versions.insert((name.clone(), before.meta.version), version);
        // The present content is one of those that are kept.
        while self.older_versions(name).count() >= File::VERSIONS_MAX {
            let Some(oldest) = self.older_versions(name).next().map(|(version, _)| version) else { break };
            self.file_versions.remove(&(name.clone(), oldest));
        }
    }

    pub(super) fn forget_file_versions(&mut self, name: &Name) {
        let versions: Vec<u64> = self.older_versions(name).map(|(version, _)| version).collect();
        for version in versions {
            self.file_versions.remove(&(name.clone(), version));
        }
    }

    fn older_versions(&self, name: &Name) -> impl Iterator<Item = (u64, &Arc<FileVersion>)> {
        self.file_versions
            .range((name.clone(), 0)..=(name.clone(), u64::MAX))
            .map(|((_, version), row)| (*version, row))
    }

    /// A file's kept versions, oldest first; the last is what it holds now.
    pub fn file_versions(&self, name: &Name) -> impl Iterator<Item = (u64, FileVersion)> {
        let present = self.object(Kind::File, name).and_then(|object| match &object.spec {
            Spec::File(file) => {
                let content = Arc::clone(&file.content);
                Some((object.meta.version, FileVersion { at: object.meta.updated, content }))
            }
            _ => None,
        });
        self.older_versions(name).map(|(version, row)| (version, (**row).clone())).chain(present)
    }
}

fn too_large(name: &Name) -> Rejection {
    let detail = format!("at most {} bytes", File::BYTES_MAX);
    Rejection {
        kind: RejectionKind::Invalid,
        message: format!("file `{name}`: /content: {detail}"),
        fields: vec![FieldError { document: 0, pointer: "/content".to_string(), detail }],
    }
}
