package rscaler;

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.rmi.RemoteException;
import java.rmi.UnmarshalException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import javax.management.Attribute;
import javax.management.AttributeNotFoundException;
import javax.management.InstanceNotFoundException;
import javax.management.MalformedObjectNameException;
import javax.management.ObjectName;
import javax.management.RuntimeMBeanException;
import javax.management.remote.rmi.RMIConnection;

/** Values of attributes as numbers: one call for each MBean. */
final class Reads {
    private static final int NAMES_MAX = 1000;
    private static final int CACHED_MAX = 4096;
    /** How long the names that a pattern matched, and why an attribute can not be had, are believed. */
    private static final long MATCHED_NS = 10L * 1000 * 1000 * 1000;
    private static final long REFUSED_NS = 60L * 1000 * 1000 * 1000;
    private static final long LATE_NS = 20L * 1000 * 1000 * 1000;

    private final Map<String, ObjectName> names = new HashMap<String, ObjectName>();
    private final Map<ObjectName, Matched> matched = new HashMap<ObjectName, Matched>();
    private final Map<String, Refused> refused = new HashMap<String, Refused>();

    private static final class Matched {
        final List<ObjectName> names;
        final int all;
        final long until = System.nanoTime() + MATCHED_NS;

        Matched(List<ObjectName> names, int all) {
            this.names = names;
            this.all = all;
        }
    }

    private static final class Refused {
        final Fault why;
        final long until;

        Refused(Fault why) {
            this.why = why;
            this.until = System.nanoTime() + (why.kind == Fault.TIMED_OUT ? LATE_NS : REFUSED_NS);
        }
    }

    void forget() {
        matched.clear();
        refused.clear();
    }

    ObjectName name(String text) throws Fault {
        ObjectName name = names.get(text);
        if (name == null) {
            name = parse(text);
            if (names.size() >= CACHED_MAX) {
                names.clear();
            }
            names.put(text, name);
        }
        return name;
    }

    static ObjectName parse(String text) throws Fault {
        try {
            return new ObjectName(text);
        } catch (MalformedObjectNameException wrong) {
            throw new Fault(Fault.INVALID, "`" + text + "` is no object name: " + wrong.getMessage());
        }
    }

    void read(Target target, RMIConnection from, DataInputStream in, DataOutputStream out) throws Exception {
        int mbeans = in.readInt();
        for (int mbean = 0; mbean < mbeans; mbean++) {
            String text = Jmx.string(in);
            int count = in.readInt();
            String[] attributes = new String[count];
            String[] keys = new String[count];
            for (int i = 0; i < count; i++) {
                attributes[i] = Jmx.string(in);
                keys[i] = Jmx.string(in);
            }
            try {
                if (target.isLate()) {
                    throw new Fault(Fault.TIMED_OUT, "what was read before it took all the time");
                }
                ObjectName name = name(text);
                if (name.isPattern()) {
                    pattern(target, from, name, attributes, keys, out);
                } else {
                    List<Object[]> values = Collections.singletonList(values(target, from, name, attributes, keys));
                    write(Collections.singletonList(""), values, 1, out);
                }
            } catch (Fault fault) {
                Jmx.fault(out, fault.kind, fault.getMessage());
            }
        }
    }

    private void pattern(Target target, RMIConnection from, ObjectName pattern, String[] attributes, String[] keys, DataOutputStream out)
            throws Exception {
        Matched found = matched.get(pattern);
        if (found == null || System.nanoTime() - found.until > 0) {
            target.refill(Memory.ANSWER_BYTES_MAX);
            Refused known = refused.get(pattern.toString());
            if (known != null && System.nanoTime() - known.until < 0) {
                throw known.why;
            }
            found = match(target, from, pattern);
            matched.put(pattern, found);
        }
        if (found.names.isEmpty()) {
            throw new Fault(Fault.MISSING, "no MBean matches `" + pattern + "`");
        }
        List<String> instances = new ArrayList<String>();
        List<Object[]> values = new ArrayList<Object[]>();
        for (ObjectName name : found.names) {
            if (target.isLate()) {
                throw new Fault(Fault.TIMED_OUT, found.all + " MBeans match `" + pattern + "`, and there was no time for all of them");
            }
            try {
                values.add(values(target, from, name, attributes, keys));
                instances.add(instance(pattern, name));
            } catch (Fault gone) {
                if (gone.kind != Fault.MISSING) {
                    throw gone;
                }
                // It was there a moment ago: what is there now is looked up next time.
                matched.remove(pattern);
            }
        }
        write(instances, values, found.all, out);
    }

    /** The first of the names that match, in their order. */
    private Matched match(Target target, RMIConnection from, ObjectName pattern) throws Exception {
        int bound = target.callMs;
        target.callMs = bound * 2;
        try {
            Set<ObjectName> all = from.queryNames(pattern, null, null);
            TreeSet<ObjectName> first = new TreeSet<ObjectName>();
            for (ObjectName name : all) {
                first.add(name);
                if (first.size() > NAMES_MAX) {
                    first.pollLast();
                }
            }
            return new Matched(new ArrayList<ObjectName>(first), all.size());
        } catch (OutOfMemoryError many) {
            target.memory.blame(many);
            // Not tried again at once: it costs the others, too.
            Fault why = new Fault(Fault.TOO_LARGE, "more MBeans match `" + pattern + "` than can be told: narrow the pattern");
            refused.put(pattern.toString(), new Refused(why));
            throw why;
        } catch (UnmarshalException unread) {
            if (unread.getCause() instanceof java.net.SocketTimeoutException) {
                throw new Fault(Fault.TIMED_OUT, "which MBeans match `" + pattern + "` was not told in time");
            }
            throw Fault.large(unread) ? new Fault(Fault.TOO_LARGE, "more MBeans match `" + pattern + "` than can be told: narrow the pattern") : unread;
        } finally {
            target.callMs = bound;
        }
    }

    private static void write(List<String> instances, List<Object[]> values, int all, DataOutputStream out) throws IOException {
        out.writeByte(0);
        out.writeInt(all);
        out.writeInt(instances.size());
        for (int i = 0; i < instances.size(); i++) {
            Jmx.string(out, instances.get(i));
            for (Object value : values.get(i)) {
                if (value instanceof Fault) {
                    Jmx.fault(out, ((Fault) value).kind, ((Fault) value).getMessage());
                } else {
                    out.writeByte(0);
                    out.writeDouble((Double) value);
                }
            }
        }
    }

    /** What tells one MBean of a pattern from the others: the values of the keys that the pattern leaves open. */
    static String instance(ObjectName pattern, ObjectName name) {
        Map<String, String> open = new LinkedHashMap<String, String>();
        if (pattern.isDomainPattern()) {
            open.put("domain", name.getDomain());
        }
        Map<String, String> fixed = pattern.getKeyPropertyList();
        for (Map.Entry<String, String> property : new java.util.TreeMap<String, String>(name.getKeyPropertyList()).entrySet()) {
            if (!property.getValue().equals(fixed.get(property.getKey()))) {
                open.put(property.getKey(), plain(property.getValue()));
            }
        }
        if (open.size() == 1) {
            return open.values().iterator().next();
        }
        StringBuilder all = new StringBuilder();
        for (Map.Entry<String, String> property : open.entrySet()) {
            all.append(all.length() > 0 ? "," : "").append(property.getKey()).append('=').append(property.getValue());
        }
        return all.toString();
    }

    private static String plain(String value) {
        return value.startsWith("\"") ? ObjectName.unquote(value) : value;
    }

    /** For each attribute and key a Double or a Fault. */
    private Object[] values(Target target, RMIConnection from, ObjectName name, String[] attributes, String[] keys) throws Exception {
        Set<String> wanted = new LinkedHashSet<String>();
        Map<String, Object> had = new HashMap<String, Object>();
        for (String attribute : attributes) {
            Refused known = refused.isEmpty() ? null : refused.get(name + " " + attribute);
            if (known != null && System.nanoTime() - known.until < 0) {
                had.put(attribute, known.why);
            } else {
                wanted.add(attribute);
            }
        }
        if (!wanted.isEmpty()) {
            fetch(target, from, name, wanted, had);
        }
        Object[] values = new Object[attributes.length];
        for (String attribute : new LinkedHashSet<String>(java.util.Arrays.asList(attributes))) {
            if (!had.containsKey(attribute)) {
                had.put(attribute, alone(target, from, name, attribute));
            }
            // What it holds is let go at once: those that are read alone are those that are large.
            Object value = had.remove(attribute);
            for (int i = 0; i < attributes.length; i++) {
                if (attributes[i].equals(attribute)) {
                    values[i] = number(value, keys[i]);
                }
            }
        }
        return values;
    }

    private static Object number(Object value, String key) {
        if (value instanceof Fault) {
            return value;
        }
        try {
            return Values.number(Values.part(value, key));
        } catch (Fault fault) {
            return fault;
        }
    }

    private void fetch(Target target, RMIConnection from, ObjectName name, Set<String> wanted, Map<String, Object> had) throws Exception {
        target.refill(Memory.VALUES_BYTES_MAX);
        try {
            List<Attribute> read = from.getAttributes(name, wanted.toArray(new String[0]), null).asList();
            for (Attribute attribute : read) {
                had.put(attribute.getName(), attribute.getValue());
            }
        } catch (InstanceNotFoundException gone) {
            throw new Fault(Fault.MISSING, "there is no MBean `" + name + "`");
        } catch (SecurityException denied) {
            throw new Fault(Fault.AUTHENTICATION, "access is denied: " + Fault.text(denied));
        } catch (Exception spoilt) {
            Fault fault = Fault.in(spoilt);
            if (fault == null && (Target.isLost(spoilt) || !(spoilt instanceof RemoteException))) {
                throw spoilt;
            }
            // One of them can not be read; each alone tells which.
        } catch (OutOfMemoryError large) {
            target.memory.blame(large);
        }
    }

    /** Asks for an attribute that was left out of the answer to a question for many, which does not say why. */
    private Object alone(Target target, RMIConnection from, ObjectName name, String attribute) throws Exception {
        if (target.isLate()) {
            return new Fault(Fault.TIMED_OUT, "what was read before it took all the time");
        }
        Fault why;
        target.refill(Memory.VALUES_BYTES_MAX);
        try {
            return from.getAttribute(name, attribute, null);
        } catch (AttributeNotFoundException unknown) {
            why = new Fault(Fault.MISSING, "`" + name + "` has no attribute `" + attribute + "`");
        } catch (InstanceNotFoundException gone) {
            throw new Fault(Fault.MISSING, "there is no MBean `" + name + "`");
        } catch (OutOfMemoryError large) {
            target.memory.blame(large);
            why = new Fault(Fault.TOO_LARGE, "`" + attribute + "` takes more memory than there is");
        } catch (UnmarshalException unread) {
            if (Fault.in(unread) == null && Target.isLost(unread)) {
                throw unread;
            }
            Fault inner = Fault.in(unread);
            if (inner != null && inner.kind != Fault.TOO_LARGE) {
                return inner;
            }
            boolean late = unread.getCause() instanceof java.net.SocketTimeoutException;
            why = late ? new Fault(Fault.TIMED_OUT, "`" + attribute + "` gave no answer within " + target.callMs + " ms")
                    : Fault.large(unread)
                    ? new Fault(Fault.TOO_LARGE, "`" + attribute + "` has more than " + (Memory.VALUES_BYTES_MAX >> 20) + " MiB")
                    : new Fault(Fault.NOT_A_NUMBER, "`" + attribute + "` can not be read here: " + Fault.text(unread));
        } catch (RemoteException failed) {
            if (Target.isLost(failed)) {
                throw failed;
            }
            why = new Fault(Fault.THREW, "`" + attribute + "` threw " + Fault.text(failed));
        } catch (IOException lost) {
            throw lost;
        } catch (RuntimeMBeanException threw) {
            why = new Fault(Fault.THREW, "`" + attribute + "` threw " + Fault.text(threw));
        } catch (Exception threw) {
            why = new Fault(Fault.THREW, "`" + attribute + "` threw " + Fault.text(threw));
        }
        if (refused.size() >= CACHED_MAX) {
            refused.clear();
        }
        refused.put(name + " " + attribute, new Refused(why));
        return why;
    }
}
