//! A JVM in this process.

use std::path::Path;

use jni::objects::{JClass, JClassLoader};
use jni::refs::Global;
use jni::strings::JNIStr;
use jni::vm::{InitArgsBuilder, JavaVM};
use jni::{Env, jni_sig};

/// Starts the JVM of this process; there can be one. What an older Java does not know of `options`, it does not need.
pub(super) fn start(libjvm: &Path, options: impl IntoIterator<Item = String>) -> Result<JavaVM, String> {
    let mut args = InitArgsBuilder::new();
    for option in options {
        args = args.option(option);
    }
    let args = args.ignore_unrecognized(true).build().map_err(|error| format!("options of Java: {error}"))?;
    JavaVM::with_libjvm(args, || Ok(libjvm.to_path_buf()))
        .map_err(|error| format!("Java does not start from {}: {error}", libjvm.display()))
}

/// Defines classes, each as `length u32 | bytes`, in this order.
pub(super) fn define(env: &mut Env<'_>, classes: &[u8]) -> jni::errors::Result<Vec<Global<JClass<'static>>>> {
    let loader = JClassLoader::get_system_class_loader(env)?;
    let mut rest = classes;
    let mut defined = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (bytes, more) = more.split_at(length.min(more.len()));
        let class = env.define_class(Option::<&JNIStr>::None, &loader, bytes)?;
        defined.push(env.new_global_ref(class)?);
        rest = more;
    }
    Ok(defined)
}

/// Calls a static method without arguments and result.
pub(super) fn call(
    env: &mut Env<'_>,
    class: &Global<JClass<'static>>,
    method: &'static JNIStr,
) -> jni::errors::Result<()> {
    env.call_static_method(class, method, jni_sig!("()V"), &[]).map(|_| ())
}
