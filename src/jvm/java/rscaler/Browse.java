package rscaler;

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import javax.management.Attribute;
import javax.management.InstanceNotFoundException;
import javax.management.MBeanAttributeInfo;
import javax.management.MBeanInfo;
import javax.management.MBeanOperationInfo;
import javax.management.MBeanParameterInfo;
import javax.management.ObjectName;
import javax.management.remote.rmi.RMIConnection;

/** What a JVM's MBeans are and hold, as JSON. */
final class Browse {
    private static final int ANSWER_CHARS_MAX = 6 << 20;

    private Browse() {}

    /** Asked: a pattern, how many MBeans at most, which name comes before the first. */
    static void browse(Target target, RMIConnection from, DataInputStream in, DataOutputStream out) throws Exception {
        ObjectName pattern = Reads.parse(Jmx.string(in));
        int limit = in.readInt();
        String after = Jmx.string(in);
        boolean values = in.readBoolean();
        Set<ObjectName> all;
        try {
            all = from.queryNames(pattern, null, null);
        } catch (OutOfMemoryError many) {
            target.memory.blame(many);
            throw new Fault(Fault.TOO_LARGE, "more MBeans match `" + pattern + "` than can be told: narrow the pattern");
        } catch (IOException failed) {
            if (Fault.large(failed)) {
                throw new Fault(Fault.TOO_LARGE, "more MBeans match `" + pattern + "` than can be told: narrow the pattern");
            }
            throw failed;
        }
        TreeSet<String> names = new TreeSet<String>();
        for (ObjectName name : all) {
            names.add(name.getCanonicalName());
        }
        int count = all.size();
        all = null;
        StringBuilder json = new StringBuilder();
        json.append("{\"matched\":").append(count).append(",\"mbeans\":[");
        int shown = 0;
        String last = null;
        for (String name : names.tailSet(after, false)) {
            if (shown > 0 && target.isLate()) {
                break;
            }
            if (shown == limit || json.length() > ANSWER_CHARS_MAX) {
                break;
            }
            target.refill(Memory.VALUES_BYTES_MAX);
            try {
                int begin = json.length();
                json.append(shown > 0 ? "," : "");
                if (!mbean(target, from, Reads.parse(name), values, json)) {
                    json.setLength(begin);
                    continue;
                }
            } catch (InstanceNotFoundException gone) {
                continue;
            }
            shown++;
            last = name;
        }
        boolean more = last != null && !last.equals(names.last());
        json.append("],\"next\":");
        if (more) {
            Values.text(last, json);
        } else {
            json.append("null");
        }
        Jmx.string(out, json.append('}').toString());
    }

    private static boolean mbean(Target target, RMIConnection from, ObjectName name, boolean values, StringBuilder json) throws Exception {
        MBeanInfo info;
        try {
            info = from.getMBeanInfo(name, null);
        } catch (InstanceNotFoundException gone) {
            return false;
        }
        json.append("{\"name\":");
        Values.text(name.toString(), json);
        json.append(",\"domain\":");
        Values.text(name.getDomain(), json);
        json.append(",\"class\":");
        Values.text(info.getClassName(), json);
        json.append(",\"description\":");
        Values.text(info.getDescription(), json);
        json.append(",\"attributes\":[");
        MBeanAttributeInfo[] attributes = info.getAttributes();
        List<Attribute> read = values ? read(target, from, name, attributes) : new ArrayList<Attribute>();
        for (int i = 0; i < attributes.length; i++) {
            MBeanAttributeInfo attribute = attributes[i];
            json.append(i > 0 ? ",{\"name\":" : "{\"name\":");
            Values.text(attribute.getName(), json);
            json.append(",\"type\":");
            Values.text(attribute.getType(), json);
            json.append(",\"description\":");
            Values.text(attribute.getDescription(), json);
            json.append(",\"readable\":").append(attribute.isReadable());
            json.append(",\"writable\":").append(attribute.isWritable());
            for (Attribute value : read) {
                if (value.getName().equals(attribute.getName())) {
                    json.append(value.getValue() instanceof Fault ? ",\"error\":" : ",\"value\":");
                    Object shown = value.getValue();
                    Values.json(shown instanceof Fault ? ((Fault) shown).getMessage() : shown, json);
                    break;
                }
            }
            json.append('}');
        }
        json.append("],\"operations\":[");
        MBeanOperationInfo[] operations = info.getOperations();
        for (int i = 0; i < operations.length; i++) {
            json.append(i > 0 ? ",{\"name\":" : "{\"name\":");
            Values.text(operations[i].getName(), json);
            json.append(",\"returns\":");
            Values.text(operations[i].getReturnType(), json);
            json.append(",\"description\":");
            Values.text(operations[i].getDescription(), json);
            json.append(",\"arguments\":[");
            MBeanParameterInfo[] arguments = operations[i].getSignature();
            for (int j = 0; j < arguments.length; j++) {
                json.append(j > 0 ? ",{\"name\":" : "{\"name\":");
                Values.text(arguments[j].getName(), json);
                json.append(",\"type\":");
                Values.text(arguments[j].getType(), json);
                json.append('}');
            }
            json.append("]}");
        }
        json.append("]}");
        return true;
    }

    private static String shown(Target target, Exception failed) {
        if (failed.getCause() instanceof java.net.SocketTimeoutException) {
            return "no answer within " + target.callMs + " ms";
        }
        return Fault.large(failed) ? "it is too large to be read" : Fault.text(failed);
    }

    /** All in one call where that goes; those that spoil it, each alone. */
    private static List<Attribute> read(Target target, RMIConnection from, ObjectName name, MBeanAttributeInfo[] attributes) throws Exception {
        List<String> wanted = new ArrayList<String>();
        for (MBeanAttributeInfo attribute : attributes) {
            if (attribute.isReadable()) {
                wanted.add(attribute.getName());
            }
        }
        List<Attribute> read = new ArrayList<Attribute>();
        if (wanted.isEmpty()) {
            return read;
        }
        try {
            read.addAll(from.getAttributes(name, wanted.toArray(new String[0]), null).asList());
        } catch (OutOfMemoryError large) {
            // Each alone then.
            target.memory.blame(large);
        } catch (Exception spoilt) {
            if (Fault.in(spoilt) == null && Target.isLost(spoilt)) {
                throw spoilt;
            }
        }
        for (Attribute attribute : read) {
            wanted.remove(attribute.getName());
        }
        for (String attribute : wanted) {
            target.refill(Memory.VALUES_BYTES_MAX);
            Object value;
            try {
                value = from.getAttribute(name, attribute, null);
            } catch (OutOfMemoryError large) {
                target.memory.blame(large);
                value = new Fault(Fault.TOO_LARGE, "it takes more memory than there is");
            } catch (Exception failed) {
                if (Fault.in(failed) == null && Target.isLost(failed)) {
                    throw failed;
                }
                value = new Fault(Fault.THREW, shown(target, failed));
            }
            read.add(new Attribute(attribute, value));
        }
        return read;
    }
}
